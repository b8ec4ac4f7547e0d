import { test } from "node:test";
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";

/** Modules of lib/ in order: one may import those of earlier lines, and those before it in its own. */
const LAYERS: Record<string, string> = {
  leaves:
    "permission cache_folder npm report progress parse_args nearest glob json_string strict_json hashed_file " +
    "pattern_syntax pattern csv sampling statistics",
  numbers:
    "codebook float16 dtype format scale_format pack pack_scales rounding scale_rule ladder zero_point " +
    "group_sides scale_search stored_scales coded_scales quantizer quantization_error " +
    "recipe lloyd budget triangular layer_error weighted_clip group_rounding repack row_descent " +
    "open_row output_clip refinement gptq awq quantize_linear gram_reference",
  gpu:
    "waiting gpu launch kernels self_test fragment arithmetic native bun_webgpu bindings software_gpu " +
    "tuning_cache device device_facts timing",
  operations:
    "byte_levels linear_reference pointwise_reference attention_reference resident matmul_tilings workgroup_memory tiling " +
    "product linear prepared_product tuning",
  files: "safetensors_header safetensors safetensors_writer checkpoint checkpoint_config " +
    "manifest output_folder packed_claims packed_tensors",
  text: "tokenizer_file tokenizer_parts tokenizer chat_template text_windows " +
    "choices evaluate compare",
  network: "model_config ops cpu_ops gpu_ops model runner llama_cpu llama_gpu llama " +
    "block_inputs block_inputs_gpu folding block_store calibrate smoothquant smooth_model " +
    "double_quantization tape_attention tape_ops lora",
  drivers: "choose_tensors choose_recipes carry_over quantize_checkpoint quantize_calibrated " +
    "dequantize_checkpoint verify_checkpoint " +
    "inspect_checkpoint check_checkpoint generate",
  commands: "command read_options command_quantize command_inspect command_verify " +
    "command_dequantize command_check command_devices command_model command_generate command_eval " +
    "command_compare",
  interface: "cli",
};

/** Files that may be longer than `MOST_LINES`, and why. */
const MOST_LINES = 350;
const LONG: Record<string, string> = {};

/** Kernels that no function of their name launches: the module that does, by the kernel's name. */
const RECORDED: Record<string, string> = {
  self_test: "self_test",
  self_test_half: "arithmetic",
  self_test_lanes: "self_test",
  self_test_bytes: "arithmetic",
  self_test_matrix: "arithmetic",
  matmul_matrix: "matmul_tilings",
  dense_matmul_matrix: "matmul_tilings",
  matvec_fast: "tiling",
  matvec_bytes: "tiling",
  byte_tokens: "product",
  halve_tokens: "product",
  join: "product",
  matmul_broadcast: "matmul_tilings",
  dense_matmul_broadcast: "matmul_tilings",
  matmul_strips: "matmul_tilings",
  dense_matmul_strips: "matmul_tilings",
  embed: "gpu_ops",
  embed_packed: "gpu_ops",
  rms_norm: "gpu_ops",
  rotate: "gpu_ops",
  attention: "gpu_ops",
  attention_tile: "gpu_ops",
  attention_quads: "gpu_ops",
  widen_cache: "gpu_ops",
  silu_mul: "gpu_ops",
  token_loss: "llama_gpu",
  gram: "block_inputs_gpu",
  top: "llama_gpu",
};

/** Kernels whose specification has another name, which it shares with others. */
const SPECIFIED: Record<string, string> = {
  embed_packed: "embed",
  attention_tile: "attention",
  attention_quads: "attention",
  self_test: "expected",
  self_test_half: "expectedHalves",
  self_test_lanes: "expectedLanes",
  self_test_bytes: "expectedBytes",
  self_test_matrix: "expectedFragments",
  matmul_matrix: "matmul",
  dense_matmul_matrix: "denseMatmul",
  matvec_fast: "matvec",
  matvec_bytes: "matvec",
  join: "matvec",
  matmul_broadcast: "matmul",
  dense_matmul_broadcast: "denseMatmul",
  matmul_strips: "matmul",
  dense_matmul_strips: "denseMatmul",
};

const TOP_LEVEL = [
  ..."deno.json mod.ts lib kernels examples tests bench".split(" "),
  ..."README.md LICENSE package.json deno.lock bun.lock .gitignore .ci".split(" "),
];

const root = new URL("../", import.meta.url);
const modules = namesIn("lib", ".ts");
const kernels = namesIn("kernels", ".wgsl");
const parts = namesIn("kernels/parts", ".wgsl");
const order = Object.values(LAYERS).flatMap((line) => line.split(" "));

test("the top level is what it is meant to be, and nothing else", () => {
  const ignored = new Set([
    ".git",
    ...read(".gitignore").split("\n").map((l) => l.replace(/\W/g, "")),
  ]);
  const found = readdirSync(root).filter((name) => !ignored.has(name));
  assert.deepEqual(found.sort(), TOP_LEVEL.sort());
});

test("every module has one place in the layers", () => {
  assert.deepEqual([...order].sort(), modules);
});

test("imports in lib/ point down the layers, which leaves no room for a cycle", () => {
  const upward = modules.flatMap((name) => {
    const imports = importsOf(`lib/${name}.ts`).flatMap((path) =>
      /^\.\/(\w+)\.ts$/.exec(path)?.[1] ?? []
    );
    return imports.filter((other) => order.indexOf(other) >= order.indexOf(name))
      .map((other) => `${name} imports ${other}`);
  });
  assert.deepEqual(upward, []);
});

test("lib/ imports its own files and node: alone; npm packages come through lib/npm.ts", () => {
  const allowed =
    /^(\.\/\w+\.ts|node:[\w/]+|\.\.\/kernels\/(parts\/)?\w+\.wgsl|\.\.\/package\.json)$/;
  const foreign = modules.flatMap((name) => {
    return importsOf(`lib/${name}.ts`).filter((path) => !allowed.test(path))
      .map((path) => `${name} imports ${path}`);
  });
  const dynamic = modules.filter((name) => /\bimport\(/.test(code(`lib/${name}.ts`)));
  assert.deepEqual({ foreign, dynamic }, { foreign: [], dynamic: ["native", "npm"] });
});

test("examples import mod.ts and each other, and nothing of lib/", () => {
  const allowed = /^(\.\.\/mod\.ts|\.\/[\w-]+\.(ts|txt)|node:[\w/]+)$/;
  const foreign = namesIn("examples", ".ts").flatMap((name) => importsOf(`examples/${name}.ts`))
    .filter((path) => !allowed.test(path));
  assert.deepEqual(foreign, []);
});

test("benches import this project's modules and node:, and no package", () => {
  const allowed = /^(\.\.\/mod\.ts|(\.\.\/lib|\.)\/\w+\.ts|\.\/\w+\.wgsl|node:[\w/]+)$/;
  const foreign = namesIn("bench", ".ts").flatMap((name) => importsOf(`bench/${name}.ts`))
    .filter((path) => !allowed.test(path));
  assert.deepEqual(foreign, []);
});

test("the costs of kernels look into lib/, which lib/ does not know, and import no package", () => {
  const allowed = /^(\.\.\/(\.\.\/lib\/)?\w+\.ts|\.\/\w+\.ts|node:[\w/]+)$/;
  const foreign = namesIn("bench/isa", ".ts").flatMap((name) => importsOf(`bench/isa/${name}.ts`))
    .filter((path) => !allowed.test(path));
  assert.deepEqual(foreign, []);
});

for (const name of namesIn("bench", ".wgsl")) {
  test(`bench/${name}.wgsl states its contract`, () => {
    const text = read(`bench/${name}.wgsl`);
    assert.match(headerOf(text), new RegExp(`^// ${name}: `));
    assert.deepEqual(missing(headerOf(text), ["dispatch:", "parts:", ...bindingsIn(text)]), []);
  });
}

test("only cli.ts prints or exits", () => {
  const talks = /\bconsole\.|process\.(stdout|stderr)\.write|process\.exit(Code)?\b|Deno\.exit/;
  assert.deepEqual(modules.filter((name) => talks.test(code(`lib/${name}.ts`))), ["cli"]);
});

test("only report.ts asks for arquero, bindings.ts for Dawn, software_gpu.ts for SwiftShader", () => {
  const users = (pattern: RegExp) =>
    modules.filter((name) => name !== "npm" && pattern.test(code(`lib/${name}.ts`)));
  assert.deepEqual(users(/["']arquero["']/), ["report"]);
  assert.deepEqual(users(/sparticuz/), ["software_gpu"]);
  assert.deepEqual(users(/\b(loadNpm|locateNpm)\b/), [
    "bindings",
    "chat_template",
    "report",
    "software_gpu",
    "tokenizer",
  ]);
});

for (const name of kernels) {
  test(`kernels/${name}.wgsl states its contract, and has reference, wrapper and entry`, () => {
    const text = read(`kernels/${name}.wgsl`);
    const header = headerOf(text);
    assert.match(header, new RegExp(`^// ${name}: `), "begins with its name and what it computes");
    assert.deepEqual(missing(header, ["dispatch:", "parts:", "spec:", ...bindingsIn(text)]), []);
    const [, spec, file] = /spec:\s+(\w+)\(\) in lib\/(\w+)\.ts/.exec(header) ?? [];
    assert.match(
      read(`lib/${file}.ts`),
      new RegExp(`function ${spec}\\(`),
      "names its specification",
    );
    assert.equal(spec, SPECIFIED[name] ?? camelCase(name));
    assert.match(file, /_reference$|^self_test$|^arithmetic$/);
    const launcher = RECORDED[name];
    if (launcher) assert.match(read(`lib/${launcher}.ts`), new RegExp(`"${name}"`));
    else assert.match(read("lib/linear.ts"), new RegExp(`function ${camelCase(name)}\\b`));
    assert.ok(read("lib/kernels.ts").includes(`"../kernels/${name}.wgsl"`), "in lib/kernels.ts");
  });
}

for (const name of parts) {
  test(`kernels/parts/${name}.wgsl says what it needs, and is used`, () => {
    const text = read(`kernels/parts/${name}.wgsl`);
    const [, part] = /^(\w+)_(portable|subgroup|f16|octet|matrix|sixteen|eight)$/.exec(name) ?? [];
    assert.match(headerOf(text), new RegExp(`^// ${part}: `));
    assert.deepEqual(missing(headerOf(text), ["needs:", ...bindingsIn(text)]), []);
    assert.ok(read("lib/kernels.ts").includes(`"../kernels/parts/${name}.wgsl"`));
    assert.ok(kernels.some((kernel) => partsOf(kernel).includes(part)), "some kernel joins it");
  });
}

test("every module opens with an essay of at most 25 lines", () => {
  const faulty = modules.filter((name) => {
    const essay = /^\/\*\*\n([\s\S]*?)\*\//.exec(read(`lib/${name}.ts`))?.[1] ?? "";
    return !essay.includes("@module") || essay.split("\n").length > 26;
  });
  assert.deepEqual(faulty, []);
});

test("every module has a test of its name, unless it is types alone", () => {
  const tested = (name: string) => existsSync(new URL(`tests/${name}_test.ts`, root));
  const runs = (name: string) => /\b(function|const|class)\b/.test(code(`lib/${name}.ts`));
  assert.deepEqual(modules.filter((name) => runs(name) && !tested(name)), []);
});

test(`no source file is longer than ${MOST_LINES} lines, no function than 100`, () => {
  const files = [
    "mod.ts",
    ...["lib", "examples", "bench", "bench/isa", "tests"].flatMap((folder) =>
      filesIn(folder, ".ts")
    ),
    ...["kernels", "kernels/parts", "bench"].flatMap((folder) => filesIn(folder, ".wgsl")),
  ];
  const lines = (path: string) => read(path).trimEnd().split("\n").length;
  assert.deepEqual(files.filter((path) => lines(path) > MOST_LINES), Object.keys(LONG));
  const functions = /^(?:export )?(?:async )?(?:function|fn)\*? (\w+)[\s\S]*?^}/gm;
  const long = files.flatMap((path) =>
    [...read(path).matchAll(functions)].filter(([text]) => text.split("\n").length > 100)
      .map(([, name]) => `${name}() in ${path}`)
  );
  assert.deepEqual(long, []);
});

test("the TypeScript is such that taking its types away leaves JavaScript", () => {
  const typed =
    /^\s*(export )?(const )?(enum|namespace) |constructor\([^)]*\b(private|public|protected|readonly)\b/m;
  const faulty = modules.filter((name) => typed.test(code(`lib/${name}.ts`)));
  assert.deepEqual(faulty, []);
});

function read(path: string): string {
  return readFileSync(new URL(path, root), "utf8");
}

/** A source file without its comments; strings stay. */
function code(path: string): string {
  return read(path).replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:"'`])\/\/.*$/gm, "$1");
}

/** Everything that a file imports or re-exports, also types. */
function importsOf(path: string): string[] {
  return [...code(path).matchAll(/\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"/gm)].map((m) =>
    m[1] ?? m[2]
  );
}

function filesIn(folder: string, ending: string): string[] {
  return namesIn(folder, ending).map((name) => `${folder}/${name}${ending}`);
}

function namesIn(folder: string, ending: string): string[] {
  return readdirSync(new URL(folder, root)).filter((name) => name.endsWith(ending))
    .map((name) => name.slice(0, -ending.length)).sort();
}

/** The comment that a WGSL file begins with. */
function headerOf(text: string): string {
  return text.slice(0, text.search(/^(?!\/\/)/m));
}

function bindingsIn(text: string): string[] {
  return [...text.matchAll(/@binding\(\d+\) var<[^>]*> ([a-z_]+)/g)].map(([, name]) => name);
}

function partsOf(kernel: string): string[] {
  return (/parts:\s+(.*)/.exec(headerOf(read(`kernels/${kernel}.wgsl`)))?.[1] ?? "").split(/,\s*/);
}

function missing(header: string, words: string[]): string[] {
  return words.filter((word) => !header.includes(word));
}

function camelCase(name: string): string {
  return name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
}
