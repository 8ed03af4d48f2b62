// Unified diffs with line numbers and the colors of the language.

import type { ComponentChildren, JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import ini from "highlight.js/lib/languages/ini";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import yaml from "highlight.js/lib/languages/yaml";

for (const [name, language] of Object.entries({ bash, ini, json, python, yaml })) hljs.registerLanguage(name, language);

const LANGUAGES: Record<string, string> = {
  py: "python", json: "json", toml: "ini", cfg: "ini", ini: "ini", yaml: "yaml", yml: "yaml", sh: "bash",
};

export interface DiffLine {
  kind: "add" | "del" | "same" | "note";
  before: number | null;
  after: number | null;
  text: string;
}

export interface DiffFile {
  path: string;
  added: number;
  removed: number;
  hunks: { head: string; lines: DiffLine[] }[];
}

/** Read a unified diff; what is none becomes notes, so that nothing is lost. */
export function parseDiff(diff: string): DiffFile[] {
  const files: DiffFile[] = [];
  let file: DiffFile | null = null;
  let hunk: { head: string; lines: DiffLine[] } | null = null;
  let before = 0;
  let after = 0;
  let leftBefore = 0;
  let leftAfter = 0;
  const open = (path: string): DiffFile => {
    const made = { path, added: 0, removed: 0, hunks: [] };
    files.push(made);
    return made;
  };
  for (const line of diff.replace(/\n$/, "").split("\n")) {
    if (hunk && file && (leftBefore > 0 || leftAfter > 0)) {
      const text = line.slice(1);
      if (line.startsWith("+")) {
        hunk.lines.push({ kind: "add", before: null, after: after++, text });
        file.added += 1;
        leftAfter -= 1;
        continue;
      }
      if (line.startsWith("-")) {
        hunk.lines.push({ kind: "del", before: before++, after: null, text });
        file.removed += 1;
        leftBefore -= 1;
        continue;
      }
      if (line.startsWith("\\")) {
        hunk.lines.push({ kind: "note", before: null, after: null, text: line.slice(2) });
        continue;
      }
      hunk.lines.push({ kind: "same", before: before++, after: after++, text });
      leftBefore -= 1;
      leftAfter -= 1;
      continue;
    }
    const git = /^diff --git a\/(.*) b\/(.*)$/.exec(line);
    const span = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)$/.exec(line);
    if (git) {
      file = open(git[2] ?? "");
      hunk = null;
    } else if (line.startsWith("--- ")) {
      if (!file || file.hunks.length > 0) file = open(line.slice(4).replace(/^a\//, ""));
    } else if (line.startsWith("+++ ")) {
      const path = line.slice(4).replace(/^b\//, "").replace(/\t.*$/, "");
      if (file && path !== "/dev/null") file.path = path;
    } else if (span) {
      file ??= open("");
      before = Number(span[1]);
      leftBefore = Number(span[2] ?? 1);
      after = Number(span[3]);
      leftAfter = Number(span[4] ?? 1);
      hunk = { head: span[5] ?? "", lines: [] };
      file.hunks.push(hunk);
    } else if (line.startsWith("\\") && hunk) {
      hunk.lines.push({ kind: "note", before: null, after: null, text: line.slice(2) });
    } else if (line !== "" && !line.startsWith("index ")) {
      file ??= open("");
      if (!hunk) {
        hunk = { head: "", lines: [] };
        file.hunks.push(hunk);
      }
      hunk.lines.push({ kind: "note", before: null, after: null, text: line });
    }
  }
  return files;
}

const ENTITIES: Record<string, string> = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'" };

/** The highlighter's markup as elements: it knows spans with a class, and text, and no more. */
function elements(markup: string): ComponentChildren[] {
  const stack: ComponentChildren[][] = [[]];
  const classes: string[] = [];
  for (const piece of markup.match(/<span class="[^"]*">|<\/span>|[^<]+/g) ?? []) {
    if (piece === "</span>") {
      const inside = stack.pop() ?? [];
      stack.at(-1)?.push(<span class={classes.pop()}>{inside}</span>);
    } else if (piece.startsWith("<span")) {
      classes.push(piece.slice(13, -2));
      stack.push([]);
    } else {
      stack.at(-1)?.push(piece.replace(/&(?:amp|lt|gt|quot|#x27);/g, (entity) => ENTITIES[entity] ?? entity));
    }
  }
  return stack[0] ?? [];
}

/** Show what would turn the order of letters around, and what has no width. */
function plain(text: string): string {
  return text.replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, (letter) => `⟨U+${letter.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

function Code({ text, language }: { text: string; language: string | null }): JSX.Element {
  if (language === null || text.length > 500) return <>{text}</>;
  return <>{elements(hljs.highlight(text, { language, ignoreIllegals: true }).value)}</>;
}

const MARKS = { add: "+", del: "−", same: " ", note: "\\" };
const MOST = 400;

function FileDiff({ file, open }: { file: DiffFile; open: boolean }): JSX.Element {
  const [all, setAll] = useState(false);
  const language = LANGUAGES[file.path.split(".").at(-1) ?? ""] ?? null;
  let left = all ? Infinity : MOST;
  const total = file.hunks.reduce((sum, hunk) => sum + hunk.lines.length, 0);
  return (
    <details class="diff-file" open={open}>
      <summary>
        <span class="path">{plain(file.path) || "changes"}</span>
        <span class="added">+{file.added}</span> <span class="removed">−{file.removed}</span>
      </summary>
      <div class="diff-box" tabIndex={0} role="region" aria-label={`Changes of ${file.path || "the recipe"}`}>
        <table class="diff">
          <tbody>
            {file.hunks.map((hunk, i) => {
              const lines = hunk.lines.slice(0, Math.max(0, left));
              left -= lines.length;
              if (lines.length === 0) return null;
              return [
                <tr key={`h${i}`} class="hunk"><td colSpan={2} /><td>{hunk.head || "⋯"}</td></tr>,
                ...lines.map((line, j) => (
                  <tr key={`${i}.${j}`} class={line.kind}>
                    <td class="line">{line.before}</td>
                    <td class="line">{line.after}</td>
                    <td class="code"><span class="mark">{MARKS[line.kind]}</span><Code text={plain(line.text)} language={line.kind === "note" ? null : language} /></td>
                  </tr>
                )),
              ];
            })}
          </tbody>
        </table>
      </div>
      {total > MOST && !all && <button type="button" class="link" onClick={() => setAll(true)}>Show all {total} lines</button>}
    </details>
  );
}

export function Diff({ diff, empty }: { diff: string; empty: string }): JSX.Element {
  const files = useMemo(() => parseDiff(diff), [diff]);
  if (files.length === 0) return <p class="muted">{empty}</p>;
  return <div class="diffs">{files.map((file, i) => <FileDiff key={`${file.path}${i}`} file={file} open={i < 12} />)}</div>;
}
