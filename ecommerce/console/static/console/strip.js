// How the shop fares, live: texts as the stream tells them. When the digest changes there is more that
// is new than texts, and the parts that show it fetch themselves again.

const page = document.querySelector("[data-strip]");
let digest;

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
  if (digest !== undefined && digest !== detail.digest) {
    for (const element of page.querySelectorAll("[data-fresh]")) element.dispatchEvent(new Event("changed"));
  }
  digest = detail.digest;
});
