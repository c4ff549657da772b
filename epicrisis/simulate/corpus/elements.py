"""FHIR's own element names and code systems, so that also types which the corpus does not write find their names."""

from __future__ import annotations

from collections.abc import Iterator

from fhir.resources.R4B import get_fhir_model_class

from epicrisis.simulate.fhir import Json, dumps

TYPES = (
    "Account", "Appointment", "AuditEvent", "Basic", "BodyStructure", "ClinicalImpression", "Communication",
    "CommunicationRequest", "Composition", "Consent", "DetectedIssue", "DeviceRequest", "DeviceUseStatement",
    "Endpoint", "FamilyMemberHistory", "Flag", "Group", "GuidanceResponse", "HealthcareService",
    "ImmunizationRecommendation", "List", "Media", "Medication", "MedicationAdministration",
    "MedicationDispense", "MedicationStatement", "MolecularSequence", "NutritionOrder", "OperationOutcome",
    "Person", "QuestionnaireResponse", "RelatedPerson", "RequestGroup", "RiskAssessment", "Schedule", "Slot",
    "Specimen", "VisionPrescription", "AdverseEvent", "EpisodeOfCare", "CareTeam", "Condition", "Encounter",
    "Procedure", "ServiceRequest", "Task", "Goal", "CarePlan", "Immunization",
)  # fmt: skip

SHAPES: dict[str, object] = {
    "CodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "", "display": ""}], "text": ""},
    "Reference": {"reference": "urn:uuid:"},
    "Identifier": {"system": "urn:oid:2.16.840.1.113883.", "value": ""},
    "Period": {"start": "20", "end": "20"},
    "Quantity": {"value": 1, "unit": "", "system": "http://unitsofmeasure.org", "code": ""},
    "Annotation": {"text": ""},
    "Extension": {"url": "http://hl7.org/fhir/StructureDefinition/"},
}


def skeletons() -> Iterator[tuple[str, bytes]]:
    """Each type's elements in the order of the specification, with the shape of their type and nothing in it."""
    for kind in TYPES:
        made: Json = {"resourceType": kind, "id": ""}
        model = get_fhir_model_class(kind)
        types = {field.alias or name: str(field.annotation) for name, field in model.model_fields.items()}
        for element in model.elements_sequence():
            if element in ("id", "implicitRules", "contained", "modifierExtension"):
                continue
            shape = next((value for name, value in SHAPES.items() if name in types[element]), "")
            made[element] = [shape] if "List" in types[element] else shape
        body = dumps(made)
        yield kind, body
        yield kind, body  # a name seen once counts for nothing in the training
