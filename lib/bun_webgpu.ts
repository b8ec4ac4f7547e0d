/**
 * Calls of bun-webgpu, each with its memory held.
 *
 * bun-webgpu writes a call's descriptors into ArrayBuffers and hands native code their addresses. An
 * inner descriptor, a label or a list of entries is reachable by its address alone by then, so that a
 * garbage collection between packing and the call frees what the native code is about to read: now and
 * then "nextInChain must be nullptr", or a crash, or a device that says what it never had.
 *
 * Here every method and getter of its objects runs with the two things it packs with, `ArrayBuffer` and
 * `TextEncoder`, replaced by ones that remember what they made until the outermost call returns. Native
 * code copies what it keeps, so no longer is needed. Calls are synchronous: nobody else sees the
 * replacements.
 *
 * @module
 */

/** What an object of bun-webgpu is known by. */
interface Branded {
  __brand: string;
}

/** What calls in progress have made, outermost first. */
const held: unknown[] = [];
let depth = 0;

const PlainArrayBuffer = globalThis.ArrayBuffer;
const HoldingArrayBuffer = new Proxy(PlainArrayBuffer, {
  construct: (target, parameters, newTarget) =>
    hold(Reflect.construct(target, parameters, newTarget) as ArrayBuffer),
});
const plainEncode = TextEncoder.prototype.encode;
function holdingEncode(this: TextEncoder, text?: string): Uint8Array<ArrayBuffer> {
  return hold(plainEncode.call(this, text));
}

const known = new WeakSet<object>();

/**
 * Makes every call of the object, of others of its class, and of all objects that such calls return
 * hold its memory. Promises are not followed: what they resolve to is to be given here too.
 *
 * @example
 * ```ts
 * import { holdCalls } from "./bun_webgpu.ts";
 * import assert from "node:assert/strict";
 *
 * class Counter {
 *   __brand = "GPUCounter";
 *   bytes = () => new ArrayBuffer(4);
 *   count(): number {
 *     return new ArrayBuffer(8).byteLength;
 *   }
 * }
 * assert.equal(holdCalls(new Counter()).count(), 8);
 * ```
 */
export function holdCalls<T>(object: T): T {
  if (!isBranded(object)) return object;
  const prototype = Object.getPrototypeOf(object);
  if (known.has(prototype)) return object;
  known.add(prototype);
  for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (name === "constructor") continue;
    const { value, get } = property;
    if (get) Object.defineProperty(prototype, name, { ...property, get: holding(get) });
    else if (typeof value === "function") {
      Object.defineProperty(prototype, name, { ...property, value: holding(value) });
    }
  }
  for (const part of Object.values(object)) holdCalls(part);
  return object;
}

function isBranded(object: unknown): object is Branded {
  return typeof object === "object" && object !== null && "__brand" in object;
}

// deno-lint-ignore no-explicit-any -- any method of any class
type Method = (this: any, ...parameters: any[]) => unknown;

/** The method, with what it is given and what it makes held until it has returned. */
function holding(method: Method): Method {
  return function (...parameters) {
    held.push(parameters);
    if (depth++ === 0) {
      globalThis.ArrayBuffer = HoldingArrayBuffer;
      TextEncoder.prototype.encode = holdingEncode;
    }
    try {
      return holdCalls(method.apply(this, parameters));
    } finally {
      if (--depth === 0) {
        globalThis.ArrayBuffer = PlainArrayBuffer;
        TextEncoder.prototype.encode = plainEncode;
        held.length = 0;
      }
    }
  };
}

function hold<T>(made: T): T {
  held.push(made);
  return made;
}
