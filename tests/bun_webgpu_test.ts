import assert from "node:assert/strict";
import { test } from "node:test";
import { holdCalls } from "../lib/bun_webgpu.ts";

/** Says in each call which ArrayBuffer and which encode() it saw. */
class Made {
  __brand = "GPUMade";
  part = new Part();
  seen(): unknown[] {
    return [globalThis.ArrayBuffer, TextEncoder.prototype.encode];
  }
  get seenByGetter(): unknown[] {
    return this.seen();
  }
  throws(): never {
    throw new Error("no");
  }
  makes(): Other {
    return new Other();
  }
  packs(): boolean {
    return new ArrayBuffer(4) instanceof ArrayBuffer && new TextEncoder().encode("ab").length === 2;
  }
}
class Part {
  __brand = "GPUPart";
  seen = Made.prototype.seen;
  sees(): unknown[] {
    return this.seen();
  }
}
class Other {
  __brand = "GPUOther";
  sees(): unknown[] {
    return [globalThis.ArrayBuffer, TextEncoder.prototype.encode];
  }
}

const plain = [globalThis.ArrayBuffer, TextEncoder.prototype.encode];
const now = () => [globalThis.ArrayBuffer, TextEncoder.prototype.encode];

test("calls, getters, parts and results pack with what holds, and leave the plain ones behind", () => {
  const made = holdCalls(new Made());
  for (const seen of [made.seen(), made.seenByGetter, made.part.sees(), made.makes().sees()]) {
    seen.forEach((value, i) => assert.notEqual(value, plain[i]));
    assert.deepEqual(now(), plain);
  }
  assert.throws(() => made.throws(), /^Error: no$/);
  assert.deepEqual(now(), plain);
});

test("what holds makes plain buffers, and a class is wrapped once", () => {
  const made = holdCalls(holdCalls(new Made()));
  const { seen } = Made.prototype;
  holdCalls(new Made());
  assert.equal(Made.prototype.seen, seen);
  assert.ok(made.packs());
});

test("objects of other bindings stay as they are", () => {
  class Native {
    call(): unknown {
      return globalThis.ArrayBuffer;
    }
  }
  assert.equal(holdCalls(new Native()).call(), plain[0]);
  assert.equal(holdCalls(null), null);
});
