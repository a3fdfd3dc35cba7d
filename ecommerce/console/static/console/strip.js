// How the shop fares, live: texts as the stream tells them. A part that is more than texts has the digest
// of what it shows: <section id="crowd" data-digest="…">. When the stream tells another one, the parts
// fetch themselves again. What came between drawing the page and the first state is found by that, too.

const page = document.querySelector("[data-strip]");

page.addEventListener("live", ({ detail }) => {
  for (const element of page.querySelectorAll("[data-text]")) {
    const text = detail.texts[element.dataset.text] ?? element.textContent;
    if (element.textContent !== text) element.textContent = text;
  }
  for (const element of page.querySelectorAll("[data-value]")) {
    const text = detail.texts[element.dataset.value];
    if (text !== undefined) element.value = Number(text.replaceAll(",", ""));
  }
  page.querySelector("[data-tone]").dataset.tone = detail.tone;
  const parts = [...page.querySelectorAll("[data-digest]")];
  if (parts.some((part) => part.dataset.digest !== detail.digests[part.id])) {
    for (const element of page.querySelectorAll("[data-fresh]")) element.dispatchEvent(new Event("changed"));
  }
});
