"""What lets anybody check us: the chain of each subject's history."""
