import { test } from "node:test";
import assert from "node:assert/strict";
import { cacheFolder } from "../lib/cache_folder.ts";
import { withVariables } from "./variables.ts";

test("the cache is where XDG_CACHE_HOME says, else under HOME", () => {
  withVariables({ XDG_CACHE_HOME: "/var/c", HOME: "/home/one" }, () => {
    assert.equal(cacheFolder(), "/var/c/afpq");
  });
  for (const XDG_CACHE_HOME of [undefined, "", "relative"]) {
    withVariables({ XDG_CACHE_HOME, HOME: "/home/one" }, () => {
      assert.equal(cacheFolder(), "/home/one/.cache/afpq");
    });
  }
});

test("without either, the cache is refused by the names of both", () => {
  withVariables({ XDG_CACHE_HOME: undefined, HOME: undefined }, () => {
    assert.throws(cacheFolder, /neither XDG_CACHE_HOME nor HOME is set/);
  });
});
