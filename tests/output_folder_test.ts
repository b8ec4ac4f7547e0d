/** Claims about lib/output_folder.ts, on real folders. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { abandonAllSync, checkOutput, createOutput } from "../lib/output_folder.ts";
import { type At, inFolder } from "./made_checkpoints.ts";

/** Tells a story in a folder of its own with a model folder in it. */
const besideModel = (story: (at: At) => Promise<void>) =>
  inFolder(async (at) => {
    await mkdir(at("model"));
    await writeFile(at("model", "w.safetensors"), "w");
    await story(at);
  });

/** Paths below a folder, links not followed. */
async function listing(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const deeper = entries.filter((entry) => entry.isDirectory())
    .map(({ name }) => listing(join(folder, name)));
  return [...entries.map(({ name }) => join(folder, name)), ...(await Promise.all(deeper)).flat()]
    .sort();
}

const wanted = (source: string, force = false) => ({ sources: [source], force, bytesWanted: 10 });

test("nothing stands at the name until commit, and then everything", () =>
  besideModel(async (at) => {
    const output = await createOutput(at("out"), wanted(at("model")));
    await writeFile(join(output.path, "a"), "1");
    assert.match(output.path, /\/\.out\.partial-[0-9a-f]{8}-\d+-[0-9a-f]{8}$/);
    assert.deepEqual((await readdir(at())).includes("out"), false);
    await output.commit();
    await output.abandon();
    assert.deepEqual((await readdir(at())).sort(), ["model", "out"]);
    assert.equal(await readFile(at("out", "a"), "utf8"), "1");
  }));

test("an abandoned folder leaves nothing", () =>
  besideModel(async (at) => {
    {
      await using output = await createOutput(at("out"), wanted(at("model")));
      await writeFile(join(output.path, "a"), "1");
    }
    const output = await createOutput(at("out"), wanted(at("model")));
    await writeFile(join(output.path, "a"), "1");
    abandonAllSync();
    assert.deepEqual(await readdir(at()), ["model"]);
  }));

test("force replaces a folder whole, and leaves the old one on failure before commit", () =>
  besideModel(async (at) => {
    await mkdir(at("out"));
    await writeFile(at("out", "old"), "");
    const abandoned = await createOutput(at("out"), wanted(at("model"), true));
    await abandoned.abandon();
    assert.deepEqual(await readdir(at("out")), ["old"]);
    const output = await createOutput(at("out"), wanted(at("model"), true));
    await writeFile(join(output.path, "new"), "");
    await output.commit();
    assert.deepEqual(await readdir(at("out")), ["new"]);
    assert.deepEqual((await readdir(at())).sort(), ["model", "out"]);
  }));

test("of two writers to one name one wins and the other is told", () =>
  besideModel(async (at) => {
    const both = await Promise.all([1, 2].map(() => createOutput(at("out"), wanted(at("model")))));
    for (const [i, output] of both.entries()) await writeFile(join(output.path, `f${i}`), "");
    const ends = await Promise.allSettled(both.map((output) => output.commit()));
    for (const output of both) await output.abandon();
    const lost = ends.filter((end) => end.status === "rejected");
    assert.equal(lost.length, 1);
    assert.match(String(lost[0].reason), /as its name must be free: got a folder made meanwhile$/);
    assert.equal((await readdir(at("out"))).length, 1);
    assert.deepEqual((await readdir(at())).sort(), ["model", "out"]);
  }));

/** Each: what is made, the output asked for, and what the refusal says. */
const refusals: Record<string, {
  make?: (at: (...names: string[]) => string) => Promise<unknown>;
  out: string[];
  source?: string[];
  force?: boolean;
  says: RegExp;
}> = {
  "a folder that is there": {
    make: (at) => mkdir(at("out")),
    out: ["out"],
    says: /must not be there yet: got a folder, --force replaces it$/,
  },
  "a file": {
    make: (at) => writeFile(at("out"), ""),
    out: ["out"],
    force: true,
    says: /must be a folder: got a file$/,
  },
  "a link": {
    make: (at) => symlink(at("nowhere"), at("out")),
    out: ["out"],
    force: true,
    says: /must be a folder: got a symbolic link$/,
  },
  "a folder with folders in it": {
    make: (at) => mkdir(at("out", "photos"), { recursive: true }),
    out: ["out"],
    force: true,
    says: /must hold only files to be replaced by --force: got the folder "photos"$/,
  },
  "a missing parent": { out: ["no", "out"], says: /its parent must be a folder: got no ".*\/no"$/ },
  "a file for a parent": {
    out: ["model", "w.safetensors", "out"],
    says: /its parent must be a folder: got ".*w\.safetensors"$/,
  },
  "the model": {
    out: ["model"],
    force: true,
    says: /must stand apart from .*: got the model itself$/,
  },
  "a path inside the model": { out: ["model", "q"], says: /got a path inside it$/ },
  "a folder around the model": {
    make: (at) => mkdir(at("model", "deep")),
    out: ["model"],
    source: ["model", "w.safetensors"],
    force: true,
    says: /got a folder around it$/,
  },
  "the model by a link to its parent": {
    make: (at) => symlink(at(), at("link")),
    out: ["link", "model"],
    force: true,
    says: /got the model itself$/,
  },
  "a path inside the model by a link": {
    make: (at) => symlink(at("model"), at("link")),
    out: ["link", "q"],
    says: /got a path inside it$/,
  },
  "a link to the model": {
    make: (at) => symlink(at("model"), at("link")),
    out: ["link"],
    force: true,
    says: /got the model itself$/,
  },
};

for (const [what, { make, out, source = ["model"], force, says }] of Object.entries(refusals)) {
  test(`refuses ${what}, and writes nothing`, () =>
    besideModel(async (at) => {
      await make?.(at);
      const before = await listing(at());
      await assert.rejects(createOutput(at(...out), wanted(at(...source), force)), {
        message: says,
      });
      assert.deepEqual(await listing(at()), before);
    }));
}

test("refuses to start what the disk has no room for, naming the bytes", () =>
  besideModel(async (at) => {
    const options = { sources: [], bytesWanted: 2 ** 52 };
    await assert.rejects(checkOutput(at("out"), options), {
      message: /as its disk must have 4503599627370496 bytes \(4.5 PB\) free: got \d+$/,
    });
  }));

/** The tag of this machine, from a partial folder's name, with the pid of nobody. */
async function deadTag(at: (...names: string[]) => string): Promise<string> {
  await using output = await createOutput(at("probe"), wanted(at("model")));
  return `${/partial-([0-9a-f]{8})/.exec(output.path)![1]}-99999999-00000000`;
}

test("remains of dead runs go, those of living runs, other machines and other names stay", () =>
  besideModel(async (at) => {
    const dead = await deadTag(at);
    const alive = dead.replace("99999999", String(1));
    const kept = [
      `.out.partial-${alive}`,
      `.out.partial-00000000-99999999-00000000`,
      `.other.partial-${dead}`,
      `.out.partial-notes`,
    ];
    for (const name of [...kept, `.out.partial-${dead}`]) await mkdir(at(name));
    const said: string[] = [];
    const log = (line: string) => void said.push(line);
    await (await createOutput(at("out"), { ...wanted(at("model")), log })).abandon();
    assert.deepEqual((await readdir(at())).sort(), [...kept, "model"].sort());
    assert.equal(said.length, 1);
  }));

test("a folder that stepped aside for a killed run gets its name back", () =>
  besideModel(async (at) => {
    await mkdir(at(`.out.old-${await deadTag(at)}`));
    await assert.rejects(createOutput(at("out"), wanted(at("model"))), /not be there yet/);
    assert.deepEqual((await readdir(at())).sort(), ["model", "out"]);
  }));

test("names of more bytes than a file system gives are refused before anything is written", () =>
  besideModel(async (at) => {
    const options = { sources: [], bytesWanted: 0 };
    const name = "ä".repeat(128), before = await readdir(at());
    await assert.rejects(
      createOutput(at(name), options),
      /name must have at most 255 bytes: got 256$/,
    );
    assert.deepEqual(await readdir(at()), before);
  }));

test("names of 255 bytes work", () =>
  besideModel(async (at) => {
    const output = await createOutput(at("n".repeat(255)), wanted(at("model")));
    await output.commit();
    assert.deepEqual((await readdir(at())).sort(), ["model", "n".repeat(255)]);
  }));
