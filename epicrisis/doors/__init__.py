"""What takes in from outside and answers: FHIR over HTTP, HL7 v2 over MLLP, Kafka inboxes; health, metrics, schemas."""
