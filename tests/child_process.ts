/**
 * Runs TypeScript in a process of its own, in the runtime of the test: for what a process can do only
 * once, or must not survive.
 *
 * @module
 */

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const { HOME = "", XDG_CACHE_HOME = join(HOME, ".cache") } = process.env;
/** Deno's own cache, also for a child whose XDG_CACHE_HOME is another. */
export const DENO_DIR = process.env.DENO_DIR ?? join(XDG_CACHE_HOME, "deno");

/** How a child ended. */
export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Options of {@linkcode runChild}. */
export interface ChildOptions {
  /** Added to the environment; undefined takes a variable away. */
  env?: Record<string, string | undefined>;
  /** Flags for Deno instead of `-A`. */
  denoFlags?: string[];
  /** Flags for Bun. */
  bunFlags?: string[];
  /** Whether libvulkan, the Vulkan loader, cannot be found. */
  hideVulkan?: boolean;
}

/**
 * Starts the runtime that is named by the environment: where Deno's node:child_process sees Deno among
 * the arguments, it adds -A.
 */
const PLAIN = ["sh", "-c", 'exec "$RUNTIME" "$@"', "sh"];

/** A mount namespace of its own, in which each file of the loader is /dev/null. */
const HIDE = [
  "unshare",
  "-rm",
  "sh",
  "-c",
  "for f in $(ls -d /usr/lib*/libvulkan.so.1* /usr/lib*/*/libvulkan.so.1* 2>/dev/null); " +
  'do mount --bind /dev/null "$f" || exit 99; done; exec "$RUNTIME" "$@"',
  "sh",
];

/** Where `lib/` is, as imports of a child's code see it: `${lib}device.ts`. */
export const lib = new URL("../lib/", import.meta.url).href;

/** Why `hideVulkan` does not work here, or null where it does. */
export const cannotHide: string | null = probeHiding();

/** Runs the code as a module beside no configuration, to its end. */
export async function runChild(code: string, options: ChildOptions = {}): Promise<Ended> {
  const folder = mkdtempSync(join(tmpdir(), "afpq-child-"));
  try {
    const file = join(folder, "child.ts");
    writeFileSync(file, code);
    const runtime = "Deno" in globalThis
      ? ["run", "--quiet", ...(options.denoFlags ?? ["-A"]), file]
      : [...(options.bunFlags ?? []), file];
    return await end([...(options.hideVulkan ? HIDE : PLAIN), ...runtime], options.env ?? {});
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function probeHiding(): string | null {
  if (process.platform !== "linux") return "only Linux has mount namespaces";
  const [command, ...args] = HIDE;
  const { status } = spawnSync(command, args, { env: { ...process.env, RUNTIME: "true" } });
  return status === 0 ? null : "no mount namespace of one's own here";
}

function end([command, ...args]: string[], env: Record<string, string | undefined>) {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>();
  const child = spawn(command, args, {
    env: { ...process.env, DENO_DIR, RUNTIME: process.execPath, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended: Ended = { code: null, stdout: "", stderr: "" };
  child.stdout.on("data", (bytes) => ended.stdout += bytes);
  child.stderr.on("data", (bytes) => ended.stderr += bytes);
  child.on("error", reject);
  child.on("close", (code) => resolve({ ...ended, code }));
  return promise;
}
