// SPDX-License-Identifier: Apache-2.0
// What processes share by name: semaphores (a lock is one of size 1), events, variables, topics, published objects and
// life signs of tasks. Runs on the node service's thread; requests that wait are answered later.
//
// Values are objects of the store; this service holds a reference to each. Invariants: (1) what a process holds is given
// back when its endpoint ends, or when its lease is not renewed in time; (2) semaphores are granted in the order asked;
// (3) every table is bounded.

import { PolyrayError } from "../base/errors.ts";
import { OnceTable } from "./once.ts";
import type { Peer } from "./state.ts";
import { type Waiter, Waiters } from "./waiters.ts";

type Fields = Record<string, unknown>;
type Handler = (fields: Fields, peer: Peer) => Fields | Promise<Fields>;

/** How references are held: `hold` gives 0 for an object that is gone. */
export interface SyncHost {
  holdObject(id: Uint8Array): number;
  dropObject(handle: number): void;
}

interface Acquirer extends Waiter {
  readonly count: number;
  readonly leaseMs: number;
}

interface Holder {
  readonly peer: Peer;
  readonly count: number;
  timer: NodeJS.Timeout | null;
  readonly leaseMs: number;
}

interface Semaphore {
  readonly size: number;
  free: number;
  readonly holders: Map<string, Holder>;
  readonly waiting: Waiters<Acquirer>;
}

/** A value in the store. */
interface Kept {
  readonly id: Uint8Array;
  readonly handle: number;
}

interface Topic {
  next: number;
  readonly events: Kept[];
  readonly waiting: Waiters;
}

interface Published extends Kept {
  readonly timer: NodeJS.Timeout | null;
}

const maxNames = 100_000;
/** Events of a topic that a slow reader may still read. */
const topicBacklog = 1024;
const maxBeats = 10_000;

export class SyncService {
  readonly #host: SyncHost;
  readonly #semaphores = new Map<string, Semaphore>();
  readonly #events = new Map<string, { set: boolean; readonly waiting: Waiters }>();
  readonly #variables = new Map<string, { value: Kept | null; readonly waiting: Waiters }>();
  readonly #topics = new Map<string, Topic>();
  readonly #published = new Map<string, Published>();
  readonly #beats = new Map<string, Kept>();
  readonly #once: OnceTable<Kept>;
  readonly #handlers: Readonly<Record<string, Handler>>;

  constructor(host: SyncHost) {
    this.#host = host;
    this.#once = new OnceTable(
      (id) => this.#keep(id),
      (kept) => this.#drop(kept),
    );
    this.#handlers = {
      "sync.acquire": (fields, peer) => this.#acquire(fields, peer),
      "sync.withdraw": (fields) => this.#withdraw(fields),
      "sync.renew": (fields) => this.#renew(fields),
      "sync.release": (fields) => this.#release(fields),
      "sync.state": (fields) => this.#state(fields),
      "event.set": (fields) => this.#setEvent(fields),
      "event.clear": (fields) => this.#clearEvent(fields),
      "event.wait": (fields, peer) => this.#waitEvent(fields, peer),
      "variable.set": (fields) => this.#setVariable(fields),
      "variable.get": (fields, peer) => this.#getVariable(fields, peer),
      "variable.delete": (fields) => this.#deleteVariable(fields),
      "topic.publish": (fields) => this.#publishEvent(fields),
      "topic.end": (fields) => ({ next: this.#topics.get(nameOf(fields))?.next ?? 0 }),
      "topic.read": (fields, peer) => this.#readTopic(fields, peer),
      "publish.set": (fields) => this.#publish(fields),
      "publish.get": (fields) => ({ id: this.#published.get(nameOf(fields))?.id ?? null }),
      "publish.delete": (fields) => ({ deleted: this.#unpublish(nameOf(fields)) }),
      "publish.list": (fields) => this.#listPublished(fields),
      "once.claim": (fields, peer) => this.#once.claim(nameOf(fields), peer),
      "once.set": (fields) => this.#once.set(nameOf(fields), fields.ids),
      "once.drop": (fields) => this.#once.pass(nameOf(fields)),
      "beat.set": (fields) => this.#beat(fields),
      "beat.get": (fields) => ({ id: this.#beats.get(String(fields.task))?.id ?? null }),
    };
  }

  handles(method: string): boolean {
    return method in this.#handlers;
  }

  /** Answers one request, at once or later. Throws a PolyrayError. */
  request(method: string, fields: Fields, peer: Peer): Fields | Promise<Fields> {
    const handler = this.#handlers[method] as Handler;
    return handler(fields, peer);
  }

  /** The endpoint ended: what it held is free, what it waited for is not wanted. */
  forgetPeer(peer: Peer): void {
    for (const [name, one] of this.#semaphores) {
      one.waiting.forgetPeer(peer);
      for (const [id, holder] of one.holders)
        if (holder.peer === peer) this.#giveBack(name, one, id);
    }
    for (const one of this.#events.values()) one.waiting.forgetPeer(peer);
    for (const one of this.#variables.values()) one.waiting.forgetPeer(peer);
    for (const one of this.#topics.values()) one.waiting.forgetPeer(peer);
    this.#once.forgetPeer(peer);
  }

  // --- semaphores

  #acquire(fields: Fields, peer: Peer): Fields | Promise<Fields> {
    const name = nameOf(fields);
    const size = Number(fields.size);
    const count = Number(fields.count ?? 1);
    const one = entry(this.#semaphores, name, () => ({
      size,
      free: size,
      holders: new Map<string, Holder>(),
      waiting: new Waiters<Acquirer>(),
    }));
    if (one.size !== size)
      throw invalid(
        `"${plain(name)}" has ${one.size} permits, not ${size}: all who share it must agree`,
      );
    if (count > size)
      throw invalid(`"${plain(name)}" has ${size} permits: ${count} can never be taken`);
    const id = String(fields.holder);
    const leaseMs = Number(fields.leaseMs ?? 0);
    const timeoutMs = Number(fields.timeoutMs ?? -1);
    if (one.waiting.size === 0 && one.free >= count) {
      this.#grant(name, one, { peer, id, count, leaseMs });
      return { granted: true };
    }
    if (timeoutMs === 0) return { granted: false };
    return one.waiting.wait((answer) => ({ peer, id, count, leaseMs, answer }), timeoutMs, {
      granted: false,
    });
  }

  #grant(name: string, one: Semaphore, to: Omit<Acquirer, "answer">): void {
    one.free -= to.count;
    const holder: Holder = { peer: to.peer, count: to.count, leaseMs: to.leaseMs, timer: null };
    one.holders.set(to.id, holder);
    this.#startLease(name, one, to.id, holder);
  }

  #startLease(name: string, one: Semaphore, id: string, holder: Holder): void {
    if (holder.timer !== null) clearTimeout(holder.timer);
    if (holder.leaseMs > 0)
      holder.timer = setTimeout(() => this.#giveBack(name, one, id), holder.leaseMs).unref();
  }

  #giveBack(name: string, one: Semaphore, id: string): boolean {
    const holder = one.holders.get(id);
    if (holder === undefined) return false;
    if (holder.timer !== null) clearTimeout(holder.timer);
    one.holders.delete(id);
    one.free += holder.count;
    this.#serve(name, one);
    return true;
  }

  #serve(name: string, one: Semaphore): void {
    for (
      let next = one.waiting.first;
      next !== undefined && one.free >= next.count;
      next = one.waiting.first
    ) {
      one.waiting.shift();
      this.#grant(name, one, next);
      next.answer({ granted: true });
    }
    if (one.holders.size === 0 && one.waiting.size === 0) this.#semaphores.delete(name);
  }

  #withdraw(fields: Fields): Fields {
    const id = String(fields.holder);
    const name = nameOf(fields);
    const lists: (Waiters | undefined)[] = [
      this.#semaphores.get(name)?.waiting,
      this.#events.get(name)?.waiting,
      this.#variables.get(name)?.waiting,
      this.#topics.get(name)?.waiting,
    ];
    for (const list of lists) list?.withdraw(id, { granted: false, withdrawn: true });
    const one = this.#semaphores.get(name);
    if (one !== undefined) {
      if (!this.#giveBack(name, one, id)) this.#serve(name, one); // it may have come too late
    }
    return {};
  }

  #renew(fields: Fields): Fields {
    const name = nameOf(fields);
    const one = this.#semaphores.get(name);
    const id = String(fields.holder);
    const holder = one?.holders.get(id);
    if (one === undefined || holder === undefined) return { held: false };
    this.#startLease(name, one, id, holder);
    return { held: true };
  }

  #release(fields: Fields): Fields {
    const name = nameOf(fields);
    const one = this.#semaphores.get(name);
    return { released: one !== undefined && this.#giveBack(name, one, String(fields.holder)) };
  }

  #state(fields: Fields): Fields {
    const one = this.#semaphores.get(nameOf(fields));
    return one === undefined
      ? { known: false, free: 0, size: 0, waiting: 0 }
      : { known: true, free: one.free, size: one.size, waiting: one.waiting.size };
  }

  // --- events

  #setEvent(fields: Fields): Fields {
    const one = this.#event(fields);
    one.set = true;
    one.waiting.answerAll({ set: true });
    return {};
  }

  #clearEvent(fields: Fields): Fields {
    const name = nameOf(fields);
    const one = this.#events.get(name);
    if (one === undefined) return {};
    one.set = false;
    if (one.waiting.size === 0) this.#events.delete(name);
    return {};
  }

  #waitEvent(fields: Fields, peer: Peer): Fields | Promise<Fields> {
    const name = nameOf(fields);
    const timeoutMs = Number(fields.timeoutMs ?? -1);
    const known = this.#events.get(name);
    if (known?.set === true || timeoutMs === 0) return { set: known?.set === true };
    const make = (answer: (fields: Fields) => void): Waiter => ({
      peer,
      id: String(fields.holder),
      answer,
    });
    return this.#event(fields).waiting.wait(make, timeoutMs, { set: false });
  }

  #event(fields: Fields) {
    return entry(this.#events, nameOf(fields), () => ({ set: false, waiting: new Waiters() }));
  }

  // --- variables

  #setVariable(fields: Fields): Fields {
    const one = this.#variable(fields);
    const old = one.value;
    one.value = this.#keep(fields.id);
    this.#drop(old);
    one.waiting.answerAll({ id: one.value.id });
    return {};
  }

  #getVariable(fields: Fields, peer: Peer): Fields | Promise<Fields> {
    const known = this.#variables.get(nameOf(fields));
    const timeoutMs = Number(fields.timeoutMs ?? -1);
    if (known?.value != null) return { id: known.value.id };
    if (timeoutMs === 0) return { id: null };
    const make = (answer: (fields: Fields) => void): Waiter => ({
      peer,
      id: String(fields.holder),
      answer,
    });
    return this.#variable(fields).waiting.wait(make, timeoutMs, { id: null });
  }

  #deleteVariable(fields: Fields): Fields {
    const name = nameOf(fields);
    const one = this.#variables.get(name);
    if (one?.value == null) return { deleted: false };
    this.#drop(one.value);
    one.value = null;
    if (one.waiting.size === 0) this.#variables.delete(name);
    return { deleted: true };
  }

  #variable(fields: Fields) {
    return entry(this.#variables, nameOf(fields), () => ({
      value: null as Kept | null,
      waiting: new Waiters(),
    }));
  }

  // --- topics

  #publishEvent(fields: Fields): Fields {
    const topic = this.#topic(fields);
    topic.events.push(this.#keep(fields.id));
    const number = topic.next++;
    if (topic.events.length > topicBacklog) this.#drop(topic.events.shift() ?? null);
    topic.waiting.answerAll({ more: true });
    return { number };
  }

  /** Ids of events from number `from` on, 64 at most; waits for one. `first` is the number of the first. */
  async #readTopic(fields: Fields, peer: Peer): Promise<Fields> {
    const topic = this.#topic(fields);
    const from = Number(fields.from);
    if (topic.next <= from) {
      const make = (answer: (fields: Fields) => void): Waiter => ({
        peer,
        id: String(fields.holder),
        answer,
      });
      await topic.waiting.wait(make, Number(fields.timeoutMs ?? -1), {});
    }
    const oldest = topic.next - topic.events.length;
    const first = Math.max(from, oldest);
    const ids = topic.events.slice(first - oldest, first - oldest + 64).map((one) => one.id);
    return { ids, first };
  }

  #topic(fields: Fields): Topic {
    return entry(this.#topics, nameOf(fields), () => ({
      next: 0,
      events: [],
      waiting: new Waiters(),
    }));
  }

  // --- published objects

  #publish(fields: Fields): Fields {
    const name = nameOf(fields);
    if (this.#published.has(name)) {
      if (fields.overwrite !== true)
        throw invalid(
          `an object named "${plain(name)}" is published: pass overwrite: true to replace it`,
        );
      this.#unpublish(name);
    }
    if (this.#published.size >= maxNames) throw full("published objects");
    const ttlMs = Number(fields.ttlMs ?? 0);
    const timer = ttlMs > 0 ? setTimeout(() => this.#unpublish(name), ttlMs).unref() : null;
    this.#published.set(name, { ...this.#keep(fields.id), timer });
    return {};
  }

  #unpublish(name: string): boolean {
    const one = this.#published.get(name);
    if (one === undefined) return false;
    if (one.timer !== null) clearTimeout(one.timer);
    this.#published.delete(name);
    this.#drop(one);
    return true;
  }

  #listPublished(fields: Fields): Fields {
    const prefix = nameOf({ ...fields, name: "" });
    return {
      names: [...this.#published.keys()]
        .filter((name) => name.startsWith(prefix))
        .map((name) => name.slice(prefix.length)),
    };
  }

  // --- life signs

  #beat(fields: Fields): Fields {
    const task = String(fields.task);
    this.#drop(this.#beats.get(task) ?? null);
    this.#beats.delete(task);
    this.#beats.set(task, this.#keep(fields.id));
    if (this.#beats.size > maxBeats) {
      const [oldest] = this.#beats.keys();
      this.#drop(this.#beats.get(oldest as string) ?? null);
      this.#beats.delete(oldest as string);
    }
    return {};
  }

  #keep(id: unknown): Kept {
    if (!(id instanceof Uint8Array) || id.length !== 16) throw invalid("this is no object id");
    const own = id.slice();
    const handle = this.#host.holdObject(own);
    if (handle === 0)
      throw new PolyrayError("[object freed] the object is gone: keep its ref until this returns", {
        code: "OBJECT_FREED",
      });
    return { id: own, handle };
  }

  #drop(kept: Kept | null): void {
    if (kept !== null) this.#host.dropObject(kept.handle);
  }
}

function nameOf(fields: Fields): string {
  return `${String(fields.ns ?? "")}\0${String(fields.name)}`;
}

/** A name as its user knows it. */
function plain(name: string): string {
  return name.slice(name.indexOf("\0") + 1);
}

function entry<V>(table: Map<string, V>, name: string, make: () => V): V {
  let found = table.get(name);
  if (found === undefined) {
    if (table.size >= maxNames) throw full("names");
    found = make();
    table.set(name, found);
  }
  return found;
}

function invalid(why: string): PolyrayError {
  return new PolyrayError(`[invalid argument] ${why}.`, { code: "INVALID_ARGUMENT" });
}

function full(what: string): PolyrayError {
  return new PolyrayError(`[limit reached] too many ${what} are in use.`, { code: "TABLE_FULL" });
}
