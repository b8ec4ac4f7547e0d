/**
 * A device that compiles something else than it is given, for tests of what would notice.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Gpu } from "../lib/launch.ts";

/** The same device with a compiler that puts `to` for `from`. */
export function miscompiling(gpu: Gpu, from: string, to: string): Gpu {
  const device = new Proxy(gpu.device, {
    get(target, key) {
      const value = target[key as keyof GPUDevice] as unknown;
      if (typeof value !== "function") return value;
      if (key !== "createShaderModule") return value.bind(target);
      return (descriptor: GPUShaderModuleDescriptor) => {
        assert.ok(descriptor.code.includes(from), `no "${from}" to miscompile`);
        return target.createShaderModule({ code: descriptor.code.replaceAll(from, to) });
      };
    },
  });
  return { ...gpu, device, pipelines: new Map() };
}
