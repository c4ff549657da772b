-- Rows as they are: who asks for a patient's finds them by the first column of the key.
SELECT * FROM cluster_access
