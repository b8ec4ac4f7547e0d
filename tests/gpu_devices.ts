/**
 * The GPU devices that tests run on: each binding of this machine that opens, others by the reason
 * why not, as the name of a skipped test.
 *
 * WEBGPU=webgpu,deno (of webgpu, bun-webgpu, deno, embedded) runs on those alone and fails where one
 * is absent. Without it, whatever opens is used; `embedded`, which is slow, if nothing else opens
 * and it was fetched before.
 *
 * `deno task test` keeps OpenGL from Deno (DENO_WEBGPU_BACKEND): with libEGL loaded one process in a
 * hundred aborts as it ends, its tests passed (glibc: double free, in Deno 2.9.5). And it asks Mesa's
 * lavapipe for no optimisations (GALLIVM_PERF), since it is compiling that tests wait for.
 *
 * @module
 */

import { test } from "node:test";
import process from "node:process";
import { type Device, type DeviceOptions, openDevice } from "../lib/device.ts";
import type { Gpu } from "../lib/launch.ts";
import { testUnless } from "./test_unless.ts";

/** A binding by the name that WEBGPU has for it, with its device or the reason for none. */
export interface Target {
  name: string;
  device: Device | null;
  reason: string;
}

const OPTIONS: Record<string, DeviceOptions> = {
  "webgpu": { binding: "webgpu", tuned: false },
  "bun-webgpu": { binding: "bun-webgpu", tuned: false },
  "deno": { binding: "deno", tuned: false },
  "embedded": { binding: "software", embedded: true, tuned: false },
};

const named = process.env.WEBGPU?.split(",").map((name) => name.trim()).filter((name) => name);

/** Opened once for each test file. */
export const targets: Target[] = await openTargets();

/** Targets with a device. */
export const present = targets.filter(({ device }) => device !== null);

/** A test on every device that is present; an absent one is skipped by name, or fails if WEBGPU has it. */
export function gpuTest(claim: string, body: (gpu: Gpu, device: Device) => Promise<void>): void {
  for (const { name, device, reason } of targets) {
    if (device) test(`${claim}, on ${name}`, () => body(device.gpu!, device));
    else if (named) test(`${claim}, on ${name}`, () => Promise.reject(new Error(reason)));
    else testUnless(reason, `${claim}, on ${name}`, () => {});
  }
}

/** A device of its own, for a test that breaks it. */
export function openTarget(name: string): Promise<Device> {
  return openDevice(OPTIONS[name]);
}

async function openTargets(): Promise<Target[]> {
  const unknown = named?.find((name) => !(name in OPTIONS));
  if (unknown) throw new RangeError(`WEBGPU must name ${Object.keys(OPTIONS)}: got "${unknown}"`);
  const opened: Target[] = [];
  for (const name of named ?? ["webgpu", "bun-webgpu", "deno"]) {
    opened.push(await open(name, OPTIONS[name]));
  }
  if (named || opened.some(({ device }) => device)) return opened;
  return [...opened, await open("embedded", OPTIONS.embedded)];
}

async function open(name: string, options: DeviceOptions): Promise<Target> {
  try {
    const device = await openDevice(options);
    if (named || device.backend !== "gl") return { name, device, reason: "" };
    device.close();
    return { name, device: null, reason: "OpenGL alone, which takes most of a minute a kernel" };
  } catch (error) {
    return { name, device: null, reason: (error as Error).message };
  }
}
