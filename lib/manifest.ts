/**
 * `afpq.json`: what a quantised checkpoint is made of, so that a single changed bit anywhere in its
 * folder is found.
 *
 *   version    of this document
 *   files      every other file of the folder: bytes and SHA-256
 *   tensors    every tensor in those files: the file it is in, bytes and SHA-256
 *   quantized  every quantised tensor under its source name: format and error against the source
 *   self       SHA-256 of this document's own text with `self` empty
 *
 * The text is canonical: reading and writing it again gives the same bytes, so that a flip in white
 * space, in a key or in an escape is found as surely as one in a number.
 *
 * @module
 */
import { sha256 } from "./hashed_file.ts";
import { quote } from "./strict_json.ts";

/** Name of the document inside a quantised checkpoint. */
export const MANIFEST_NAME = "afpq.json";

/** Version of the document; any other is refused. */
export const MANIFEST_VERSION = 1;

/** A file of the folder. */
export interface FileRecord {
  readonly bytes: number;
  readonly sha256: string;
}

/** A tensor of a file. */
export interface TensorRecord extends FileRecord {
  readonly file: string;
}

/** What quantising did to one tensor W [rows, cols]. */
export interface TensorReport {
  readonly format: string;
  readonly group: number | "row";
  readonly rows: number;
  readonly cols: number;
  /** Storage of scales, where they are codes. */
  readonly scales?: string;
  readonly bitsPerWeight: number;
  /** Relative mean square error: sum((w' - w)^2) / sum(w^2). */
  readonly nmse: number;
  /** Largest |w' - w|. */
  readonly largestError: number;
  /** Scales that were not zero and had to be stored as zero. */
  readonly underflows: number;
}

/** The document without its own hash. */
export interface Manifest {
  readonly version: number;
  readonly files: Readonly<Record<string, FileRecord>>;
  readonly tensors: Readonly<Record<string, TensorRecord>>;
  readonly quantized: Readonly<Record<string, TensorReport>>;
}

/** The document's text, its own hash put in last. */
export function manifestText({ version, files, tensors, quantized }: Manifest): string {
  const text = (self: string) =>
    `${JSON.stringify({ version, files, tensors, quantized, self }, null, 1)}\n`;
  return text(sha256(text("")));
}

/**
 * Reads the document back.
 *
 * @throws {SyntaxError} if a single bit of it is not as it was written
 * @throws {RangeError} if it is of another version
 */
export function readManifest(bytes: Uint8Array, path: string): Manifest {
  const fail = (rule: string): never => {
    throw new SyntaxError(`Cannot read ${quote(path)} as it must be as afpq wrote it: got ${rule}`);
  };
  const parsed = parseObject(bytes) ?? fail("text that is no JSON object");
  const { version, self } = parsed;
  if (typeof self === "string" && version !== MANIFEST_VERSION && selfHash(parsed) === self) {
    throw new RangeError(
      `Cannot read ${quote(path)} as its version must be ${MANIFEST_VERSION}: got ${version}`,
    );
  }
  const manifest = parsed as unknown as Manifest;
  if (!isManifest(manifest)) return fail("entries of another kind");
  const written = new TextEncoder().encode(manifestText(manifest));
  if (!sameBytes(written, bytes)) fail("a changed document, its own SHA-256 does not fit");
  return manifest;
}

function parseObject(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

/** Hash of a document of any version, as {@linkcode manifestText} takes it. */
function selfHash(parsed: Record<string, unknown>): string {
  return sha256(`${JSON.stringify({ ...parsed, self: "" }, null, 1)}\n`);
}

function isManifest({ version, files, tensors, quantized }: Manifest): boolean {
  return version === MANIFEST_VERSION && [files, tensors, quantized].every(isObject) &&
    Object.values(files).every(isRecord) && Object.values(quantized).every(isObject) &&
    Object.values(tensors).every((tensor) => isRecord(tensor) && typeof tensor.file === "string");
}

function isRecord(record: unknown): boolean {
  return isObject(record) && Number.isSafeInteger(record.bytes) &&
    typeof record.sha256 === "string";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
