/**
 * Whether the kernel tests would notice: every kernel is broken in one place at a time, and one of
 * the claims of mutations.ts must then fail on the first device that is present. A broken kernel is its
 * text with `find` replaced by `put`, handed to the device in place of the real one.
 *
 * SECOND=yes leaves them out, as a second runtime has nothing to add.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { byteTest } from "../lib/arithmetic.ts";
import type { Device } from "../lib/device.ts";
import type { Gpu } from "../lib/gpu.ts";
import { BYTE_MUTATIONS, HALF_MUTATIONS } from "./fast_mutations.ts";
import { present } from "./gpu_devices.ts";
import { type Mutation, MUTATIONS, OCTET_MUTATIONS } from "./mutations.ts";
import { repeated, testUnless } from "./test_unless.ts";

/** Pipelines of kernels that a break leaves whole, from one break to the next. */
const wholePipelines: Gpu["pipelines"] = new Map();

/** A device whose shader modules are made of changed text. */
function broken(device: Device, find: string, put: string): Device & { used: () => boolean } {
  const gpu = device.gpu!;
  const pipelines = new Map([...wholePipelines].filter(([code]) => !code.includes(find)));
  let used = false;
  const createShaderModule = (descriptor: GPUShaderModuleDescriptor) => {
    used ||= descriptor.code.includes(find);
    return gpu.device.createShaderModule({
      ...descriptor,
      code: descriptor.code.replace(find, () => put),
    });
  };
  const proxy = new Proxy(gpu.device, {
    get(target, key) {
      if (key === "createShaderModule") return createShaderModule;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { ...device, gpu: { ...gpu, device: proxy, pipelines }, used: () => used };
}

const [target] = present;
const reason = repeated ?? (target ? null : "no device is present");

const gpu = target?.device?.gpu;
const bytes = gpu && await byteTest(gpu).then(() => true, () => false);
const having = (feature: string, mutations: Mutation[]) =>
  target?.device?.gpu?.features.has(feature) ? mutations : [];
const all = [
  ...MUTATIONS,
  ...having("octets", OCTET_MUTATIONS),
  ...having("shader-f16", HALF_MUTATIONS),
  ...(bytes ? BYTE_MUTATIONS : []),
];

for (const [find, put, claim] of reason === null ? all : []) {
  const name = `${find.trim()} -> ${put.trim() || "nothing"}`;
  test(`a test notices ${name}`, async () => {
    const device = broken(target.device!, find, put);
    const outcome = await claim(device).then(() => "survived", (error: Error) => error.message);
    assert.ok(device.used(), "the text to change must stand in the kernel");
    for (const [code, made] of device.gpu!.pipelines) {
      if (!code.includes(find)) wholePipelines.set(code, made);
    }
    assert.match(
      outcome,
      /bounds off|inputs were identical|strictly|dropped the work/,
      `${name}: ${outcome}`,
    );
  });
}

if (reason !== null) testUnless(reason, "tests notice broken kernels", () => {});
