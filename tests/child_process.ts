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
      ? [process.execPath, "run", "--quiet", ...(options.denoFlags ?? ["-A"]), file]
      : [process.execPath, ...(options.bunFlags ?? []), file];
    return await end(options.hideVulkan ? [...HIDE, ...runtime] : runtime, options.env ?? {});
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A mount namespace of its own, in which each file of the loader is /dev/null. */
const HIDE = [
  "unshare",
  "-rm",
  "sh",
  "-c",
  "for f in $(ls -d /usr/lib*/libvulkan.so.1* /usr/lib*/*/libvulkan.so.1* 2>/dev/null); " +
  'do mount --bind /dev/null "$f" || exit 99; done; exec "$@"',
  "sh",
];

function probeHiding(): string | null {
  if (process.platform !== "linux") return "only Linux has mount namespaces";
  const [command, ...args] = [...HIDE, "true"];
  const { status } = spawnSync(command, args);
  return status === 0 ? null : "no mount namespace of one's own here";
}

function end([command, ...args]: string[], env: Record<string, string | undefined>) {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>();
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended: Ended = { code: null, stdout: "", stderr: "" };
  child.stdout.on("data", (bytes) => ended.stdout += bytes);
  child.stderr.on("data", (bytes) => ended.stderr += bytes);
  child.on("error", reject);
  child.on("close", (code) => resolve({ ...ended, code }));
  return promise;
}
