/**
 * A folder that appears whole or not at all. Everything is written into a hidden sibling,
 *
 *   PARENT/.NAME.partial-HOST-PID-RANDOM      HOST: 8 hex digits of the machine's name, hashed
 *
 * whose files and itself are flushed to disk before one rename gives it its name. With `force` the
 * old folder steps aside (`.NAME.old-HOST-PID-RANDOM`), the new one takes its name, the old one
 * goes: killed between the two renames, nothing stands at NAME, and the next run gives the old one
 * its name back. Partial folders of dead processes of this machine are removed by the next run to
 * the same NAME; those of other machines are left alone.
 *
 * Refused before anything is written: NAME in use without `force`; NAME a file, a link or a folder
 * with folders in it (no checkpoint of ours has any, and `force` must not take a home directory
 * with it); NAME inside, around or equal to the source, links followed; a parent that is missing or
 * cannot be written; a disk with too little room.
 *
 * @module
 */
import { createHash, randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { lstat, mkdir, open, readdir, realpath, rename, rm, statfs } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import process from "node:process";
import { bytesText } from "./progress.ts";
import { quote } from "./strict_json.ts";

/** What the folder must not collide with, and how much room it wants. */
export interface OutputOptions {
  /** Folder or files that are read while the folder is written. */
  readonly sources: readonly string[];
  /** Replace a folder that stands at this name. */
  readonly force?: boolean;
  /** Bytes that will be written. */
  readonly bytesWanted: number;
  /** Said when a killed run's remains are removed or must be left. */
  readonly log?: (line: string) => void;
}

/** A folder being written at `path`, which is not yet its name. */
export interface OutputFolder extends AsyncDisposable {
  readonly path: string;
  /** Flushes everything and gives the folder its name. */
  commit(): Promise<void>;
  /** Removes what was written, unless it was committed; `await using` does so too. */
  abandon(): Promise<void>;
}

/** What file systems give a name. */
const MOST_NAME_BYTES = 255;

/** Partial folders of this process, for a second Ctrl-C. */
const unfinished = new Set<string>();

/** Removes this process' partial folders at once, for an exit that cannot wait. */
export function abandonAllSync(): void {
  for (const path of unfinished) rmSync(path, { recursive: true, force: true });
}

/** Checks that the folder may be written, without writing. Gives its real path. */
export async function checkOutput(out: string, options: OutputOptions): Promise<string> {
  const path = await expectParent(resolve(out), out);
  const nameBytes = new TextEncoder().encode(basename(path)).length;
  if (nameBytes > MOST_NAME_BYTES) {
    throw new Error(
      `Cannot write ${
        quote(out)
      } as its name must have at most ${MOST_NAME_BYTES} bytes: got ${nameBytes}`,
    );
  }
  const found = await lstat(path).catch(() => null);
  for (const source of options.sources) await expectApart(path, source, out);
  if (found) await expectReplaceable(path, { out, found, force: options.force });
  await expectRoom(dirname(path), out, options.bytesWanted);
  return path;
}

/**
 * Makes a partial folder beside `out`, to be filled and committed.
 *
 * @throws {Error} if `out` may not be written, in one line that says why
 */
export async function createOutput(out: string, options: OutputOptions): Promise<OutputFolder> {
  const path = await checkOutput(out, options);
  if (await clearRemains(path, options.log)) await checkOutput(out, options);
  const partial = siblingName(path, "partial");
  await mkdir(partial).catch((cause) => {
    throw new Error(
      `Cannot write ${quote(out)} as its parent must be writable: got ${cause.code}`,
      {
        cause,
      },
    );
  });
  unfinished.add(partial);
  const abandon = async () => {
    if (!unfinished.has(partial)) return;
    await rm(partial, { recursive: true, force: true });
    unfinished.delete(partial);
  };
  const commit = async () => {
    await flushFolder(partial);
    await takeName(partial, path, { out, force: options.force });
    unfinished.delete(partial);
  };
  return { path: partial, commit, abandon, [Symbol.asyncDispose]: abandon };
}

/** The path with its parent's links followed. */
async function expectParent(path: string, out: string): Promise<string> {
  const parent = await realpath(dirname(path)).catch(() => null);
  const found = parent === null ? null : await lstat(parent);
  if (parent === null || !found?.isDirectory() || basename(path) === "") {
    throw new Error(
      `Cannot write ${quote(out)} as its parent must be a folder: got ${
        parent === null ? `no ${quote(dirname(path))}` : `${quote(parent)}`
      }`,
    );
  }
  return join(parent, basename(path));
}

/** Refuses an output equal to a source, inside a source folder, or around a source. */
async function expectApart(path: string, source: string, out: string): Promise<void> {
  const real = await realpath(source);
  const resolved = await realpath(path).catch(() => path);
  const where = resolved === real
    ? "the model itself"
    : isInside(resolved, real)
    ? "a path inside it"
    : isInside(real, resolved)
    ? "a folder around it"
    : "";
  if (where === "") return;
  throw new Error(
    `Cannot write ${quote(out)} as it must stand apart from ${quote(source)}: got ${where}`,
  );
}

function isInside(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== "" && way !== ".." && !way.startsWith(`..${sep}`);
}

type Stats = Awaited<ReturnType<typeof lstat>>;

async function expectReplaceable(
  path: string,
  { out, found, force }: { out: string; found: Stats; force?: boolean },
): Promise<void> {
  const fail = (rule: string): never => {
    throw new Error(`Cannot write ${quote(out)} as it must ${rule}`);
  };
  if (found.isSymbolicLink()) fail("be a folder: got a symbolic link");
  if (!found.isDirectory()) fail("be a folder: got a file");
  if (!force) fail("not be there yet: got a folder, --force replaces it");
  const entries = await readdir(path, { withFileTypes: true });
  const folder = entries.find((entry) => entry.isDirectory());
  if (folder) {
    fail(`hold only files to be replaced by --force: got the folder ${quote(folder.name)}`);
  }
}

/** Refuses when the disk has less room than is wanted; says nothing where the disk does not tell. */
async function expectRoom(parent: string, out: string, bytesWanted: number): Promise<void> {
  const disk = await statfs(parent).catch(() => null);
  if (disk === null || disk.blocks === 0) return;
  const bytesFree = disk.bavail * disk.bsize;
  if (bytesFree >= bytesWanted) return;
  throw new Error(
    `Cannot write ${quote(out)} as its disk must have ${bytesWanted} bytes (${
      bytesText(bytesWanted)
    }) free: got ${bytesFree}`,
  );
}

function hostTag(): string {
  let name = "";
  try {
    name = hostname();
  } catch { /* Deno without --allow-sys */ }
  return createHash("sha256").update(name).digest("hex").slice(0, 8);
}

/** HOST-PID of this process. */
export function processTag(): string {
  return `${hostTag()}-${process.pid}`;
}

function siblingName(path: string, kind: "partial" | "old"): string {
  const tag = `${processTag()}-${randomBytes(4).toString("hex")}`;
  return join(dirname(path), `${siblingPrefix(path, kind)}${tag}`);
}

/** How a hidden sibling's name begins. A file's name has at most 255 bytes, so a long one is hashed. */
export function siblingPrefix(path: string, kind: "partial" | "old" | "blocks"): string {
  const name = basename(path);
  const short = new TextEncoder().encode(name).length <= 200;
  return `.${short ? name : createHash("sha256").update(name).digest("hex")}.${kind}-`;
}

/**
 * Removes what dead processes of this machine left of this name. A folder that had stepped aside
 * when its replacer was killed gets its name back. Gives whether one did.
 */
async function clearRemains(path: string, log: (line: string) => void = () => {}) {
  let restored = false;
  for (const name of await readdir(dirname(path)).catch(() => [] as string[])) {
    const kind = (["partial", "old"] as const).find((kind) =>
      name.startsWith(siblingPrefix(path, kind))
    );
    if (!kind || stateOf(name.slice(siblingPrefix(path, kind).length)) !== "dead") continue;
    const remains = join(dirname(path), name);
    const taken = await lstat(path).then(() => true, absent);
    if (kind === "old" && !taken) {
      restored = await rename(remains, path).then(() => true);
      log(`gave ${quote(path)} back the folder that a killed run had moved aside`);
    } else {
      await rm(remains, { recursive: true, force: true });
      log(`removed ${quote(remains)}, left by a run that was killed`);
    }
  }
  return restored;
}

/** What is known of the process of a tag HOST-PID or HOST-PID-RANDOM; null where it is none. */
export function stateOf(tag: string): "alive" | "dead" | "elsewhere" | null {
  const [, host, pid] = /^([0-9a-f]{8})-(\d+)(?:-[0-9a-f]{8})?$/.exec(tag) ?? [];
  if (host === undefined) return null;
  if (host !== hostTag()) return "elsewhere";
  return isAlive(Number(pid)) ? "alive" : "dead";
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as { code?: string }).code !== "ESRCH";
  }
}

/** Flushes a folder of files, then itself. */
async function flushFolder(path: string): Promise<void> {
  for (const name of await readdir(path)) await flush(join(path, name));
  await flush(path);
}

async function flush(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } catch (cause) {
    const got = (cause as { code?: string }).code ?? cause;
    throw new Error(`Cannot write ${quote(path)} as the disk must flush it: got ${got}`, { cause });
  } finally {
    await handle.close();
  }
}

/** The rename that makes the folder appear; a folder in its way steps aside, and back on failure. */
async function takeName(
  partial: string,
  path: string,
  { out, force }: { out: string; force?: boolean },
): Promise<void> {
  const aside = siblingName(path, "old");
  const replaced = force === true && await rename(path, aside).then(() => true, absent);
  try {
    await rename(partial, path);
  } catch (cause) {
    if (replaced) await rename(aside, path);
    const code = (cause as { code?: string }).code;
    const got = code === "ENOTEMPTY" || code === "EEXIST" ? "a folder made meanwhile" : code;
    throw new Error(`Cannot write ${quote(out)} as its name must be free: got ${got}`, { cause });
  }
  await flush(dirname(path));
  if (replaced) await rm(aside, { recursive: true, force: true });
}

function absent(error: { code?: string }): false {
  if (error.code === "ENOENT") return false;
  throw error;
}
