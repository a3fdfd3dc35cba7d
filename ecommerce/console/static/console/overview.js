// The overview while it is live: texts, moods and the pace of each flow, as the stream tells them.

const page = document.querySelector("[data-overview]");

page.addEventListener("live", ({ detail }) => {
  for (const element of page.querySelectorAll("[data-text]")) {
    const text = detail.texts[element.dataset.text] ?? "—";
    if (element.textContent !== text) element.textContent = text;
  }
  for (const element of page.querySelectorAll("[data-mood-of]")) {
    element.dataset.mood = detail.moods[element.dataset.moodOf];
  }
  for (const element of page.querySelectorAll("[data-flow]")) {
    element.dataset.pace = detail.paces[element.dataset.flow] ?? 0;
  }
});
