"""Typical shapes of FHIR R4 resources, as common software writes them: what the zstd dictionaries are trained on.

Nothing here is taken from anyone's records: public code systems, URLs of the specification and invented values.
"""

from epicrisis.simulate.corpus.mix import FAMILIES, family, resources

__all__ = ["FAMILIES", "family", "resources"]
