// What a clinic's own program does with fhir-kit-client; says on stdout, as JSON, what came of it.
// node kit.mjs <base url> <token>
import * as kit from "fhir-kit-client";

const [baseUrl, bearerToken] = process.argv.slice(2);
const client = new (kit.Client ?? kit.default)({ baseUrl, bearerToken });

const said = {};
const capability = await client.capabilityStatement();
said.fhirVersion = capability.fhirVersion;

const patient = await client.create({
  resourceType: "Patient",
  body: { resourceType: "Patient", name: [{ family: "Kit", given: ["Nóra"] }], birthDate: "1980-05-06" },
});
said.created = patient.resourceType;
const reference = `Patient/${patient.id}`;
const weight = (value, day) => ({
  resourceType: "Observation",
  status: "final",
  code: { coding: [{ system: "http://loinc.org", code: "29463-7" }] },
  subject: { reference },
  effectiveDateTime: day,
  valueQuantity: { value, unit: "kg" },
});
const entry = (resource) => ({ resource, request: { method: "POST", url: "Observation" } });
const answer = await client.transaction({
  body: {
    resourceType: "Bundle",
    type: "transaction",
    entry: [entry(weight(70, "2026-01-01")), entry(weight(71, "2026-01-02")), entry(weight(72, "2026-01-03"))],
  },
});
said.transaction = answer.entry.map((one) => one.response.status.slice(0, 3));

said.read = (await client.read({ resourceType: "Patient", id: patient.id })).name[0].family;
await client.update({ resourceType: "Patient", id: patient.id, body: { ...patient, gender: "female" } });
said.vread = (await client.vread({ resourceType: "Patient", id: patient.id, version: "1" })).gender ?? "none";
said.history = (await client.resourceHistory({ resourceType: "Patient", id: patient.id })).entry.length;
said.typeHistory = (await client.typeHistory({ resourceType: "Patient" })).type;

const byName = await client.search({ resourceType: "Patient", searchParams: { family: "kit", given: "nora" } });
said.byName = byName.entry.map((one) => one.resource.name[0].family);
const posted = await client.search({
  resourceType: "Patient", searchParams: { family: "kit" }, options: { postSearch: true },
});
said.posted = posted.entry.length;

let page = await client.search({
  resourceType: "Observation",
  searchParams: { patient: patient.id, code: "http://loinc.org|29463-7", _sort: "-date", _count: 2 },
});
said.pages = [];
while (page) {
  said.pages.push(page.entry.map((one) => one.resource.valueQuantity.value));
  page = await client.nextPage({ bundle: page });
}
const everything = await client.operation({
  name: "everything", resourceType: "Patient", id: patient.id, input: { resourceType: "Parameters" },
});
said.everything = everything.entry.map((one) => one.resource.resourceType).sort();
try {
  await client.read({ resourceType: "Patient", id: "nobody" });
} catch (error) {
  said.missing = [error.response.status, error.response.data.resourceType];
}
console.log(JSON.stringify(said));
