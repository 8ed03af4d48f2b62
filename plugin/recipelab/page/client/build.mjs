// Builds the page: one script, one style sheet, the document that loads them, and the licences of
// what is inside. The same sources and the same lock file give the same bytes.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "static");
const options = { bundle: true, minify: true, charset: "utf8", legalComments: "none", logLevel: "warning" };

await mkdir(target, { recursive: true });
await build({
  ...options,
  entryPoints: [join(here, "src/main.tsx")],
  outfile: join(target, "page.js"),
  format: "iife",
  target: ["chrome110", "firefox113", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
});
await build({
  ...options,
  entryPoints: [join(here, "src/page.css")],
  outfile: join(target, "page.css"),
  target: ["chrome110", "firefox113", "safari16.4"],
});
await copyFile(join(here, "src/index.html"), join(target, "index.html"));

const manifest = JSON.parse(await readFile(join(here, "package.json"), "utf8"));
const parts = ["page.js and page.css contain the following software, each under its own licence.\n"];
for (const name of Object.keys(manifest.dependencies).sort()) {
  const folder = join(here, "node_modules", name);
  const its = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
  const text = await readFile(join(folder, file), "utf8");
  parts.push(`${"=".repeat(78)}\n${name} ${its.version} (${its.license})\n${"=".repeat(78)}\n\n${text.trim()}\n`);
}
await writeFile(join(target, "LICENSES.txt"), parts.join("\n"));
