/**
 * What is said of a device: to people in a line, in documents by fields.
 *
 * @module
 */

import type { Device } from "./device.ts";

/** A device by its adapter and binding, for people. */
export function deviceText(device: Device): string {
  const { adapter, binding, fast, matrixUnits } = device;
  const traits = [fast && "fast", ...arithmeticOf(device), matrixUnits && "matrix units"];
  return [`${adapter} by ${binding}`, ...traits.filter((trait) => trait)].join(", ");
}

/** A device as documents show it. */
export function deviceFacts(device: Device) {
  const { binding, adapter, backend, software, fast, accuracy, matrixUnits } = device;
  const arithmetic = arithmeticOf(device);
  return { binding, adapter, backend, software, fast, accuracy, arithmetic, matrixUnits };
}

/**
 * What multiplies packed weights with a token or two where it is not f32, in words: activations of a byte
 * with the formats that byte_levels.ts knows, else f16 arithmetic.
 */
function arithmeticOf({ accuracy, gpu }: Device): string[] {
  if (accuracy === "exact") return [];
  return [
    ...(gpu?.features.has("bytes") ? ["8-bit activations"] : []),
    ...(gpu?.features.has("halves") ? ["f16 arithmetic"] : []),
  ];
}
