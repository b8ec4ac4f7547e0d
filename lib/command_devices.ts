/**
 * `afpq devices`: what each binding comes to on this machine, one row a binding.
 *
 * Each binding is opened and self-tested as `openDevice` would, then closed; one that is not there
 * says why. The system's software Vulkan stands for the binding "software" where there is one, else
 * the embedded GPU does, if it was fetched before: listing never downloads it.
 *
 * @module
 */

import { limitsOf } from "./bindings.ts";
import { type Binding, bindings, type Device, failedSelfTest, openDevice } from "./device.ts";

/** One binding on this machine. */
export interface DeviceRow {
  binding: Binding;
  /** The adapter's name, null where there is none. */
  adapter: string | null;
  /** "vulkan", "metal", "d3d12", "gl" or "typescript". */
  backend: string | null;
  /** Whether the CPU does the work. */
  software: boolean | null;
  features: string[];
  limits: Record<string, number>;
  /** Null where there is nothing to test. */
  selfTest: "passed" | "failed" | null;
  /** Why the binding cannot be used, null where it can. */
  reason: string | null;
}

/** Tries every binding in turn; one that fails is a row, never an error. */
export async function devices(): Promise<DeviceRow[]> {
  const rows: DeviceRow[] = [];
  for (const binding of bindings) rows.push(await tryBinding(binding));
  return rows;
}

async function tryBinding(binding: Binding): Promise<DeviceRow> {
  try {
    const device = await openDevice({ binding, fetch: false });
    const row = describe(device);
    device.close();
    return row;
  } catch (error) {
    return absent(binding, error as Error);
  }
}

function describe({ binding, adapter, backend, software, gpu }: Device): DeviceRow {
  return {
    binding,
    adapter,
    backend,
    software,
    features: gpu ? [...gpu.features].sort() : [],
    limits: gpu ? limitsOf(gpu.device) : {},
    selfTest: gpu ? "passed" : null,
    reason: null,
  };
}

function absent(binding: Binding, error: Error): DeviceRow {
  const found = failedSelfTest(error);
  return {
    binding,
    adapter: found?.name ?? null,
    backend: found?.backend ?? null,
    software: found?.software ?? null,
    features: [],
    limits: {},
    selfTest: found ? "failed" : null,
    reason: error.message.replace(/^Cannot open a device: /, ""),
  };
}
