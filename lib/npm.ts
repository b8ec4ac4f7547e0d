/**
 * The few npm packages this toolkit uses, loaded when first needed and at one version each.
 *
 * Deno reads the version from the specifier, so that code imported from a URL needs no configuration;
 * Bun finds the package by name and takes the version from package.json, which a test compares with
 * the pins below. The specifier is computed, hence nothing is fetched before it is used.
 *
 * @module
 */

/** Each package with its exact version, the same as in package.json if it is there. */
export const npmPins = {
  "arquero": "8.0.1",
  "@huggingface/tokenizers": "0.2.0",
  "@huggingface/jinja": "0.5.11",
  "webgpu": "0.6.2",
  "bun-webgpu": "0.1.7",
  "@sparticuz/chromium": "153.0.0",
  "@node-llama-cpp/linux-x64": "3.22.1",
  "@node-llama-cpp/linux-x64-vulkan": "3.22.1",
  "onnxruntime-node": "1.30.0",
} as const;

/** A package that {@linkcode loadNpm} knows. */
export type NpmName = keyof typeof npmPins;

/**
 * Imports a package.
 *
 * @throws {Error} where it is not installed and cannot be fetched, saying what to run.
 */
export async function loadNpm<T>(name: NpmName): Promise<T> {
  try {
    return await import(specifier(name)) as T;
  } catch (cause) {
    throw new Error(`Cannot load npm package "${name}": ${advice(name, cause)}`, { cause });
  }
}

/**
 * The folder of a package's entry file as a `file:` URL, fetching the package where that is needed.
 * Deno fetches on import only, so there the package runs; should it fail to, its files are still there.
 */
export async function locateNpm(name: NpmName): Promise<URL> {
  let cause: unknown;
  if (isDeno) await import(specifier(name)).catch((error) => cause = error);
  try {
    const entry = new URL(import.meta.resolve(specifier(name)));
    if (entry.protocol === "file:") return new URL(".", entry);
  } catch (error) {
    cause = error;
  }
  throw new Error(`Cannot find npm package "${name}": ${advice(name, cause)}`, { cause });
}

const isDeno = "Deno" in globalThis;

function specifier(name: NpmName): string {
  return isDeno ? `npm:${name}@${npmPins[name]}` : name;
}

/** One line: what went wrong, or for a package that Bun cannot see, the command that installs it. */
function advice(name: NpmName, cause: unknown): string {
  const message = String((cause as Error | undefined)?.message ?? cause).split("\n", 1)[0];
  const missing = !isDeno && message.includes("Cannot find");
  return missing ? `run "bun add --no-save ${name}@${npmPins[name]}"` : message;
}
