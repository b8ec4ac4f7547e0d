import { test } from "node:test";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { chooseRecipes, type RecipeOptions } from "../lib/choose_recipes.ts";
import { chooseTensors } from "../lib/choose_tensors.ts";
import { format } from "../lib/format.ts";
import { storedBits } from "../lib/pack_scales.ts";
import { recipeShape } from "../lib/recipe.ts";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { scaleFormat } from "../lib/scale_format.ts";
import { inFolder, weights as weightsOf } from "./made_checkpoints.ts";

const folder = fileURLToPath(new URL("../examples/tiny-llama", import.meta.url));
const checkpoint = await openCheckpoint(folder);
const chosen = chooseTensors(checkpoint, { include: ["*.layers.0.*_proj.weight"] });
const weights = [...chosen.values()].reduce((sum, { rows, cols }) => sum + rows * cols, 0);

async function choose(options: Partial<RecipeOptions>) {
  const recipes = await chooseRecipes(chosen, {
    format: format("nf4-asym"),
    group: 128,
    ...options,
  });
  const bits = [...chosen].reduce((sum, [name, tensor]) => {
    return sum + storedBits(recipeShape(tensor, recipes.get(name)!));
  }, 0);
  return { recipes, bits: bits / weights };
}

test("without anything to choose all tensors have the one recipe, and none is read", async () => {
  const names: string[] = [];
  const { recipes } = await choose({ onSample: (some) => void names.push(...some) });
  assert.equal(new Set(recipes.values()).size, 1);
  assert.deepEqual([recipes.size, names], [7, []]);
});

for (const bits of [3.44, 4.25]) {
  test(`a budget of ${bits} bits is kept to 0.005, and used up to 0.05`, async () => {
    const got = (await choose({ bits })).bits;
    assert.ok(got <= bits + 0.005 && got > bits - 0.05, `${got}`);
  });
}

test("q, k and v share a recipe, factor and codebook too, and so do gate and up", async () => {
  for (const options of [{ bits: 4.25 }, { bits: 3.3, codebook: "lloyd" }] as const) {
    const { recipes } = await choose(options);
    const of = (name: string) => recipes.get(`model.layers.0.${name}_proj.weight`)!;
    for (const name of ["k", "v"]) assert.equal(of(`self_attn.${name}`), of("self_attn.q"), name);
    assert.equal(of("mlp.gate"), of("mlp.up"));
    assert.notEqual(of("mlp.down"), of("mlp.up"));
  }
});

test("codes of 4 bits are those that lose least, by tensor", async () => {
  const { recipes } = await choose({ scales: 4, clip: true, group: 32 });
  const names = new Set([...recipes.values()].map(({ scales }) => scales.name));
  assert.ok([...names].every((name) => name === "e1m3-row" || name === "e2m2-row"));
  assert.ok([...recipes.values()].every(({ format, group }) => {
    return format.name === "nf4-asym" && group === 32;
  }));
});

test("a factor of the tensor is found before, so that stacked tensors share it", async () => {
  const { recipes } = await choose({ scales: scaleFormat("e1m3-tensor"), group: 32 });
  assert.ok([...recipes.values()].every(({ factor }) => factor! > 0));
});

test("fitted levels are each set's own", async () => {
  const { recipes } = await choose({ codebook: "lloyd" });
  const names = new Set([...recipes.values()].map(({ format }) => format.name));
  assert.equal(names.size, 4); // qkv, o, gate and up, down
});

test("a budget that nothing keeps is refused, and told what would", async () => {
  await assert.rejects(choose({ bits: 3 }), {
    name: "RangeError",
    message: /the bits a weight must be at least 3\.\d+ here: got 3$/,
  });
});

test("rows that fill no unit take more bits than recipes say, and a budget of those is kept all the same", () =>
  inFolder(async (at) => {
    await writeSafetensors(at("narrow.safetensors"), [weightsOf("a.weight", [64, 40])], {});
    const narrow = chooseTensors(await openCheckpoint(at("narrow.safetensors")));
    const how = { format: format("nf4-asym"), group: 128 } as const;
    for (const bits of [5.2, 6, 7]) { // 64 columns are stored: a recipe of 3.25 bits takes 5.2
      const recipes = await chooseRecipes(narrow, { ...how, bits });
      const [[name, tensor]] = narrow;
      const stored = storedBits(recipeShape(tensor, recipes.get(name)!)) / (64 * 40);
      assert.ok(stored <= bits + 0.005, `${stored} for ${bits}`);
    }
  }));

test("the free code of FP4 gets a value, and the error falls", async () => {
  const { recipes } = await choose({ format: format("fp4-asym"), codebook: "special" });
  const names = [...recipes.values()].map(({ format }) => format.name);
  assert.ok(names.every((name) => /^fp4[-+][58]-asym$/.test(name)), `${names}`);
});
