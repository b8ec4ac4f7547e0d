/**
 * A GPU for machines without one: SwiftShader, Vulkan on the CPU, out of npm's @sparticuz/chromium.
 *
 *   npm package (about 70 MB) -> bin/swiftshader.tar.br (1.6 MB) -> three files of 6.8 MB:
 *   libvulkan.so.1 (the loader), libvk_swiftshader.so (the driver), vk_swiftshader_icd.json
 *
 * They are unpacked once, into a folder of the user's cache that only the user may enter: written
 * beside it first, then renamed, so that no half-made folder is ever found. Every byte is checked
 * against the hashes below before native code is loaded from it, each time.
 *
 * Dawn takes whichever `libvulkan.so.1` is loaded already and reads VK_DRIVER_FILES as it opens
 * Vulkan, so nothing has to be installed and no variable set before the process starts. Linux on x64
 * only; SwiftShader has subgroups of 4 and no shader-f16.
 *
 * @module
 */

import { createHash, randomUUID } from "node:crypto";
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { brotliDecompressSync } from "node:zlib";
import { capturingStderr, openLibrary, withEnvironment } from "./native.ts";
import { locateNpm, npmPins } from "./npm.ts";
import { cacheFolder } from "./cache_folder.ts";
import { permitted } from "./permission.ts";

/** SHA-256 of bin/swiftshader.tar.br in @sparticuz/chromium 153.0.0. */
const ARCHIVE_SHA256 = "b680e40a33235ecc6ad4c6897a168b70ce5164f0d62d2a64d675320d51614631";
const LOADER = "libvulkan.so.1";
const DRIVER = "libvk_swiftshader.so";
const MANIFEST = "vk_swiftshader_icd.json";
/** SHA-256 of the files of the archive that are used; libEGL.so and libGLESv2.so are not. */
const FILES: Record<string, string> = {
  [LOADER]: "8ee5ac00fd7968e863b05e0f6808057db16a00ad322777e5a05bed51d4f84085",
  [DRIVER]: "2f3ceffaaca7d031bc3943f8eacf398a5d9c42c5fe0d15d8840b9acfa630b58e",
  [MANIFEST]: "c9eef28b6b984fec220ef0abfecc40b502d46946706e47bfe97707027cb818bd",
};
const TAR_BLOCK_BYTES = 512;

/** Options of {@linkcode withSoftwareGpu}. */
export interface SoftwareGpuOptions {
  /** Told in one line what is fetched, when something is. */
  log?: (line: string) => void;
  /** Whether to fetch what is not in the cache; without it that is an error. Default true. */
  fetch?: boolean;
}

/**
 * Runs `act` while Vulkan means the embedded software GPU and nothing else: adapters that Dawn finds
 * inside are SwiftShader's, and stay so.
 *
 * @throws {Error} on another platform, without the permissions, where the package cannot be had, or
 * where a file's hash is not the known one.
 */
export async function withSoftwareGpu<T>(
  options: SoftwareGpuOptions,
  act: () => Promise<T>,
): Promise<T> {
  requirePlatform();
  const folder = await unpackedFolder(options);
  await openLibrary(join(folder, LOADER), { vkEnumerateInstanceVersion: ["buffer"] });
  const manifest = join(folder, MANIFEST);
  return await withEnvironment({ VK_DRIVER_FILES: manifest, VK_ICD_FILENAMES: manifest }, act);
}

/** The folder with the checked files, unpacked now unless it was before. */
export async function unpackedFolder(options: SoftwareGpuOptions = {}): Promise<string> {
  const folder = join(cacheFolder(), `swiftshader-${ARCHIVE_SHA256.slice(0, 16)}`);
  if (await isIntact(folder)) return folder;
  if (options.fetch === false) {
    throw new Error(
      'The embedded software GPU is not fetched yet: "--binding software" does so once',
    );
  }
  options.log?.(
    `Unpacking a software GPU once (SwiftShader, from npm @sparticuz/chromium ` +
      `${npmPins["@sparticuz/chromium"]}, a download of about 70 MB where npm's cache has it not)`,
  );
  await writeFolder(folder, unpack(await readArchive()));
  return folder;
}

/**
 * The regular files of a tar archive, by name. Only what this one archive needs: the plain ustar
 * header of 512 bytes (name at 0, octal size at 124, type at 156), then the content in whole blocks.
 */
export function readTar(archive: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  let at = 0;
  while (at + TAR_BLOCK_BYTES <= archive.length && archive[at] !== 0) {
    const header = archive.subarray(at, at + TAR_BLOCK_BYTES);
    const name = tarText(header, 0, 100);
    const bytes = parseInt(tarText(header, 124, 12), 8);
    const begin = at + TAR_BLOCK_BYTES;
    if (!(bytes >= 0) || begin + bytes > archive.length) {
      throw new SyntaxError(`Cannot read tar entry "${name}": it is ${bytes} bytes at ${begin}`);
    }
    const type = tarText(header, 156, 1);
    if (type === "" || type === "0") files.set(name, archive.subarray(begin, begin + bytes));
    at = begin + Math.ceil(bytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }
  return files;
}

function tarText(header: Uint8Array, begin: number, length: number): string {
  return new TextDecoder().decode(header.subarray(begin, begin + length)).split("\0", 1)[0].trim();
}

function requirePlatform(): void {
  const { platform, arch } = process;
  if (platform !== "linux" || arch !== "x64") {
    throw new Error(`The embedded software GPU is for Linux on x64: got ${platform} on ${arch}`);
  }
  const missing = (["ffi", "read", "write", "env"] as const).filter((name) => !permitted({ name }));
  if (missing.length > 0) {
    const flags = missing.map((name) => `--allow-${name}`).join(" ");
    throw new Error(`The embedded software GPU needs ${flags}`);
  }
}

async function isIntact(folder: string): Promise<boolean> {
  for (const [name, hash] of Object.entries(FILES)) {
    const bytes = await readFile(join(folder, name)).catch(() => null);
    if (!bytes || sha256(bytes) !== hash) return false;
  }
  return true;
}

/** The archive out of the npm package; what the runtime prints while it downloads is kept back. */
async function readArchive(): Promise<Uint8Array> {
  const { result: entry } = await capturingStderr(() => locateNpm("@sparticuz/chromium"));
  const archive = await readFile(new URL("../bin/swiftshader.tar.br", entry));
  return checked("swiftshader.tar.br", archive, ARCHIVE_SHA256);
}

function unpack(archive: Uint8Array): Map<string, Uint8Array> {
  const files = readTar(brotliDecompressSync(archive));
  const wanted = Object.entries(FILES).map(([name, hash]) => {
    return [name, checked(name, files.get(name) ?? new Uint8Array(0), hash)] as const;
  });
  return new Map(wanted);
}

/** Writes a folder beside the final one and renames it: whoever comes first wins, all are the same. */
async function writeFolder(folder: string, files: Map<string, Uint8Array>): Promise<void> {
  const partial = `${folder}.partial-${randomUUID()}`;
  await mkdir(partial, { recursive: true, mode: 0o700 });
  try {
    await chmod(partial, 0o700);
    for (const [name, bytes] of files) await writeFile(join(partial, name), bytes, { mode: 0o600 });
    await rename(partial, folder).catch(async (error) => {
      if (await isIntact(folder)) return;
      if (!["EEXIST", "ENOTEMPTY"].includes(error.code)) throw error;
      await rename(folder, `${partial}-damaged`);
      await rename(partial, folder);
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
    await rm(`${partial}-damaged`, { recursive: true, force: true });
  }
}

function checked(name: string, bytes: Uint8Array, hash: string): Uint8Array {
  const got = sha256(bytes);
  if (got === hash) return bytes;
  throw new Error(`Cannot use "${name}" as its SHA-256 must be ${hash}: got ${got}`);
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
