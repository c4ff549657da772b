"""The Kafka inboxes: an operator writes FHIR JSON into its own topic, and reads the answers from another.

batches     record batches that cannot do harm
judge       one record: through the gate and intake, and what is answered
places      where each partition is read on; leases
queues      what was read and not answered yet; every operator has its turn
run         the role's process
"""
