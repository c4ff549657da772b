"""The simulated cluster: operators, clinics and patients whose life arrives as FHIR bundles."""
