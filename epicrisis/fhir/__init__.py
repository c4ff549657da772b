"""FHIR R4 at the edge: the gate, reading files, references, values. Nothing behind the gate validates FHIR again."""
