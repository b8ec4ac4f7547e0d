/**
 * What Dawn's native code makes necessary and JavaScript cannot do: C's own environment variables,
 * shared libraries held open, and whatever native code prints on stderr, all through the runtime's
 * FFI. Linux with glibc or musl, Deno with --allow-ffi, or Bun; elsewhere `openLibc()` gives null
 * and the callers do without.
 *
 * Environment and stderr belong to the whole process, so `capturingStderr` runs one caller at a time.
 *
 * @module
 */

import process from "node:process";
import { permitted, readEnvironment } from "./permission.ts";

/** A C type, as both runtimes name it. */
type CType = "i32" | "u32" | "i64" | "usize" | "buffer";
type CFunction = (...args: (number | Uint8Array<ArrayBuffer> | null)[]) => number;
type CFunctions = Record<string, CFunction>;

/** The parameters of the C functions used here. */
const LIBC: Record<string, CType[]> = {
  setenv: ["buffer", "buffer", "i32"],
  unsetenv: ["buffer"],
  memfd_create: ["buffer", "u32"],
  dup: ["i32"],
  dup2: ["i32", "i32"],
  close: ["i32"],
  pread: ["i32", "buffer", "usize", "i64"],
};
const STDERR = 2;
const MFD_CLOEXEC = 1;
const CAPTURE_LIMIT_BYTES = 2 ** 20;

/**
 * Opens a shared library and keeps it open: a library that Dawn opens later by the same soname is
 * this one. Bun wants at least one function to be named. All of them return an int or, with `usize`,
 * a pointer or size, which is below 2^53.
 *
 * @throws {Error} where there is no FFI, or no such library.
 */
export async function openLibrary(
  path: string,
  functions: Record<string, CType[]>,
  result: "i32" | "usize" = "i32",
): Promise<CFunctions> {
  if (!permitted({ name: "ffi" })) throw new Error("Cannot open libraries without --allow-ffi");
  const signatures = Object.entries(functions);
  const opened = "Deno" in globalThis
    ? Deno.dlopen(
      path,
      Object.fromEntries(signatures.map(([name, parameters]) => {
        return [name, { parameters, result }];
      })) as Deno.ForeignLibraryInterface,
    )
    : (await bunFfi()).dlopen(
      path,
      Object.fromEntries(signatures.map(([name, parameters]) => {
        return [name, {
          args: parameters.map((type) => type === "buffer" ? "ptr" : type),
          returns: result,
        }];
      })),
    );
  keepForever(opened);
  const symbols = Object.entries(opened.symbols as Record<string, (...args: unknown[]) => unknown>);
  return Object.fromEntries(
    symbols.map(([name, call]) => [name, (...args) => Number(call(...args))]),
  );
}

/** Keeps an object from the garbage collector for as long as the process lives. */
export function keepForever(object: unknown): void {
  const key = Symbol.for("afpq.kept");
  const kept = ((globalThis as Record<symbol, unknown>)[key] ??= []) as unknown[];
  kept.push(object);
}

/**
 * Sets variables of C's environment (which `process.env` does not reach in Bun) for as long as `act`
 * runs.
 *
 * @throws {Error} where there is no FFI.
 */
export async function withEnvironment<T>(
  variables: Record<string, string>,
  act: () => Promise<T>,
): Promise<T> {
  const libc = await openLibc();
  if (!libc) throw new Error("Cannot set environment variables for native code: no FFI here");
  const before = Object.keys(variables).map((name) => [name, readEnvironment(name)] as const);
  for (const name in variables) libc.setenv(cString(name), cString(variables[name]), 1);
  try {
    return await act();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) libc.unsetenv(cString(name));
      else libc.setenv(cString(name), cString(value), 1);
    }
  }
}

/** Runs `act` with what anything prints on stderr kept back, and gives it as lines. */
export function capturingStderr<T>(act: () => Promise<T>): Promise<{ result: T; lines: string[] }> {
  const turn = lastCapture.then(() => capture(act));
  lastCapture = turn.catch(() => {});
  return turn;
}

let lastCapture: Promise<unknown> = Promise.resolve();

/** An error thrown by `act` carries the lines printed before it, as `printed`. */
async function capture<T>(act: () => Promise<T>): Promise<{ result: T; lines: string[] }> {
  const libc = await openLibc();
  const file = libc?.memfd_create(cString("afpq stderr"), MFD_CLOEXEC) ?? -1;
  if (!libc || file < 0) return { result: await act(), lines: [] };
  const stderr = libc.dup(STDERR);
  libc.dup2(file, STDERR);
  const restore = () => {
    libc.dup2(stderr, STDERR);
    const bytes = new Uint8Array(CAPTURE_LIMIT_BYTES);
    const length = Math.max(0, libc.pread(file, bytes, bytes.length, 0));
    libc.close(stderr);
    libc.close(file);
    const text = new TextDecoder().decode(bytes.subarray(0, length));
    return text.split("\n").filter((line) => line.trim() !== "");
  };
  try {
    const result = await act();
    return { result, lines: restore() };
  } catch (error) {
    throw Object.assign(error as Error, { printed: restore() });
  }
}

let libc: Promise<CFunctions | null> | undefined;

function openLibc(): Promise<CFunctions | null> {
  if (process.platform !== "linux") return Promise.resolve(null);
  return libc ??= openLibrary("libc.so.6", LIBC).catch(() => null);
}

interface BunFfi {
  dlopen(path: string, functions: Record<string, unknown>): { symbols: unknown };
}

function bunFfi(): Promise<BunFfi> {
  const name = "bun:ffi";
  return import(name);
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text + "\0");
}
