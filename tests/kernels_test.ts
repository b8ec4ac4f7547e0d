import { test } from "node:test";
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { kernelCombinations, kernelFor, type KernelName, kernelNames } from "../lib/kernels.ts";
import { joinKernel } from "../lib/launch.ts";
import { halfTest } from "../lib/arithmetic.ts";
import { gpuTest } from "./gpu_devices.ts";

const FOLDER = new URL("../kernels/", import.meta.url);

/** Constants for any kernel; those that a kernel does not have are left out. */
const CONSTANTS: Record<string, number> = {
  ROWS: 8,
  COLS: 64,
  GROUP: 32,
  BITS: 4,
  DECODE: 0,
  SCALING: 1,
  DTYPE: 1,
  BATCH: 2,
  OUT_ROWS: 8,
  OUT_STRIDE: 64,
  STRIDE: 64,
  EPSILON: 1e-5,
  HEADS: 4,
  KV_HEADS: 2,
  HEAD_DIM: 8,
  ROTARY: 8,
  VOCAB: 100,
  K: 4,
  SPLIT: 2,
  WORKGROUP: 64,
  TARGET: 15,
};

function constantsOf(code: string): Record<string, number> {
  const names = [...code.matchAll(/^override (\w+): \w+(?! = \()/gm)].map(([, name]) => name);
  const known = names.filter((name) => name in CONSTANTS);
  return Object.fromEntries(known.map((name) => [name, CONSTANTS[name]]));
}

/** Compile error of a text, or null. */
async function errorOf(device: GPUDevice, code: string): Promise<string | null> {
  device.pushErrorScope("validation");
  device.createShaderModule({ code });
  return (await device.popErrorScope())?.message ?? null;
}

test("each kernel file is a kernel, each part belongs to one", async () => {
  const files = (await readdir(FOLDER)).filter((name) => name.endsWith(".wgsl"));
  assert.deepEqual(files.map((name) => name.replace(".wgsl", "")).sort(), [...kernelNames].sort());
  const all = kernelNames.flatMap((name) =>
    kernelCombinations(
      name,
      new Set([
        "subgroups",
        "octets",
        "shader-f16",
        "fragments",
        "fragments of 16",
        "fragments of 8",
      ]),
    )
  );
  for (const part of await readdir(new URL("parts/", FOLDER))) {
    assert.match(part, /^[a-z_]+_(portable|subgroup|f16|octet|matrix|sixteen|eight)\.wgsl$/);
    const header = (await readFile(new URL(`parts/${part}`, FOLDER), "utf8")).split("\n", 1)[0];
    assert.ok(all.some(({ code }) => code.includes(header)), part);
  }
});

test("without features only portable parts are taken", () => {
  const needing = /_quads$|_strips$|_matrix$|^matvec_fast$|^self_test_(half|lanes)$/;
  for (const name of kernelNames.filter((name) => !needing.test(name))) {
    assert.equal(kernelCombinations(name, new Set()).length, 1);
    assert.doesNotMatch(kernelFor(name, new Set()).code, /enable /);
  }
});

test("subgroups are used where the device has them", () => {
  assert.match(kernelFor("rms_norm", new Set(["subgroups"])).code, /^enable subgroups;/);
  const held = (features: string[]) => kernelFor("matmul_strips", new Set(features)).code;
  assert.match(held(["subgroups", "octets"]), /subgroupShuffle\(held/);
  assert.doesNotMatch(held(["subgroups"]), /subgroupShuffle\(held/);
});

/** What stands for parts/place where a part needs it, and for what else tiles share. */
const PLACE = `override ROWS: u32;
override UNITS: u32;
override SPLIT: u32 = 1;
struct Place { first_row: u32, first_token: u32, live: u32, part: u32 }
fn put(place: Place, row: u32, token: u32, sum: f32) { left[row + token] = sum * f32(place.part); }
fn finished(row: u32, sum: f32) -> f32 { return sum; }
var<workgroup> left: array<f32, 64>;
@group(0) @binding(8) var<storage, read> x: array<vec4f>;`;

/** What a part takes from its kernel or from another part, as its header says under `needs:`. */
const STAND_INS: Record<string, string> = {
  lines: `override ROWS: u32;
const FOLD = 1u;
fn fold(sum: f32) -> f32 { return sum; }
@group(0) @binding(8) var<storage, read> bias: array<f32>;
@group(0) @binding(9) var<storage, read_write> y: array<f32>;
`,
  place: `override ROWS: u32;
override TILE_ROWS: u32;
override TILE_TOKENS: u32;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;
@group(0) @binding(9) var<uniform> step: vec4u;
`,
  tile: `${PLACE}
fn fetch(row: u32, unit: u32, half: u32) -> u32 { return row + unit + half; }
fn place_w(w: u32, at: u32) { tile_w[at] = vec4f(f32(w)); }
`,
  broadcast: `${PLACE}
struct Eight { lo: vec4f, hi: vec4f }
alias Fetched = vec2u;
fn fetch(row: u32, unit: u32) -> Fetched { return vec2u(row, unit); }
fn word_of(fetched: Fetched, i: u32) -> Eight { return Eight(vec4f(vec4u(fetched, i, i)), vec4f(0.0)); }
`,
  columns: `override WORKGROUP: u32 = 64;
override SPAN: u32 = 16;
override SPLIT: u32 = 1;
override LINES: u32 = 4;
override TALL: u32 = 4;
override BATCH: u32 = 1;
override UNITS: u32;
override GROUP: u32;
override GROUPS: u32;
override SCALE_BITS: u32;
alias Piece = vec4f;
const PIECES: u32 = 8;
const STRIDE: u32 = 9;
@group(0) @binding(8) var<storage, read> x: array<vec4f>;
var<workgroup> left: array<f32, 64>;
fn piece_at(i: u32) -> Piece { return x[i]; }
fn group_sum(units: vec4u, word: u32, words: u32, scale: vec2f, token: u32) -> f32 {
  return tokens[8u * token + word].x * scale.x * f32(units.x + words);
}
fn factor_of(token: u32) -> f32 { return f32(token); }
fn scales_at(first: u32, group: u32) -> vec2f { return vec2f(f32(first + group)); }
fn unit_at(at: u32) -> vec4u { return vec4u(at); }
fn row_of(line: u32, r: u32) -> u32 { return line * TALL + r; }
fn take_rows(line: u32) { left[line] = 0.0; }
fn start_of(r: u32) -> vec2u { return vec2u(r); }
fn add_sum(i: u32, sum: f32, token: u32) { left[i] += sum * f32(token); }
fn raise_sums() { left[0] += 1.0; }
fn total_of(i: u32) -> f32 { return left[i]; }
fn row_factor(row: u32) -> f32 { return f32(row); }
fn load_table(lane: u32, lanes: u32) { workgroupBarrier(); }
fn leave(lane: u32, r: u32, token: u32, sum: f32) { left[lane] = sum * f32(r + token); }
fn settle(lane: u32) { workgroupBarrier(); }
fn write(block: u32, part: u32, lane: u32, factor: vec2f) { left[lane] *= factor.x; }
struct Codebook { factor: vec2f }
@group(0) @binding(9) var<uniform> codebook: Codebook;
`,
  rows: `override TALL: u32 = 4;
override BATCH: u32 = 1;
override UNITS: u32;
fn row_of(line: u32, r: u32) -> u32 { return line * TALL + r; }
fn first_group(row: u32) -> u32 { return row; }
fn add_unit(recent: f32, sum: f32, token: u32) -> f32 { return recent + sum * f32(token); }
`,
  cache: `override HEAD_DIM: u32;
@group(0) @binding(8) var<storage, read> keys: array<u32>;
@group(0) @binding(9) var<storage, read> values: array<u32>;
`,
  table: "parts/weights",
  half_table: "parts/weights",
  byte_table: "parts/weights",
  levels: "parts/weights",
  strips: `override ROWS: u32;
override UNITS: u32;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;
@group(0) @binding(8) var<storage, read> x: array<vec4f>;
@group(0) @binding(9) var<uniform> step: vec4u;
fn add_unit(row: u32, unit: u32) { add_eight(0u, vec4f(f32(row)), vec4f(f32(unit))); }
fn finished(row: u32, sum: f32) -> f32 { return sum; }
`,
  weights: `fn table8(word: u32) -> Eight { return Eight(vec4f(f32(word)), vec4f(0.0)); }
`,
};

const PART_FILES: Record<string, string> = {
  "parts/weights": "weights_portable.wgsl",
};

gpuTest("each part is valid WGSL beside what it needs", async (gpu) => {
  const halves = await halfTest(gpu).then(() => true, () => false);
  const text = (part: string) => readFile(new URL(`parts/${part}`, FOLDER), "utf8");
  for (const part of await readdir(new URL("parts/", FOLDER))) {
    const needsSubgroups = /_(subgroup|octet)\.wgsl$/.test(part);
    if (needsSubgroups && !gpu.features.has("subgroups")) continue;
    if (/_(matrix|sixteen|eight)\.wgsl$/.test(part)) continue; // tests/matrix_units_test.ts has them compiled
    if (/_f16\.wgsl$/.test(part) && !halves) continue;
    const beside = STAND_INS[part.replace(/_[a-z0-9]+\.wgsl$/, "")] ?? "";
    const other = PART_FILES[beside] ? await text(PART_FILES[beside]) : beside;
    const { code } = joinKernel(part, [other, await text(part)]);
    assert.equal(await errorOf(gpu.device, code), null, part);
  }
});

gpuTest("every combination of parts compiles", async (gpu) => {
  // Naga has no bitcast from u32 to vec2h: --accuracy fast says so there
  const halves = await halfTest(gpu).then(() => true, () => false);
  for (const name of kernelNames as KernelName[]) {
    for (const { code } of kernelCombinations(name, gpu.features)) {
      if (code.startsWith("enable f16;") && !halves) continue;
      if (code.startsWith("enable subgroups;") && !gpu.features.has("subgroups")) continue;
      if (name.endsWith("_matrix")) continue; // see tests/matrix_units_test.ts
      const module = gpu.device.createShaderModule({ code });
      const compute = { module, entryPoint: "main", constants: constantsOf(code) };
      await gpu.device.createComputePipelineAsync({ layout: "auto", compute });
    }
  }
});
