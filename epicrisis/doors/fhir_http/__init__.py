"""FHIR R4 over HTTP (https://hl7.org/fhir/R4/http.html): `app` has the frame, every other file one part of it."""
