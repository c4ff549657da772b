"""The front door for HL7 v2 over MLLP: messages become FHIR resources by tables, and go through the one gate."""
