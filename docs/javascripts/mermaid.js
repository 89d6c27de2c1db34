// Loads the renderer of diagrams, from this site, on pages that have one.
if (document.querySelector(".mermaid")) {
  const source = new URL("mermaid.min.js", document.currentScript.src);
  document.write(`<script src="${source}"></script>`);
}
