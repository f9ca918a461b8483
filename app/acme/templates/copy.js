// A button beside each text that is there to be copied. Without scripts the text can still be selected.
for (const block of document.querySelectorAll("pre.copied")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.innerText.trimEnd());
    button.textContent = "Copied";
  });
  block.before(button);
}
