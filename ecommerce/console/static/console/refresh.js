// Parts of a page that fetch themselves anew every few seconds: <div data-refresh="3" hx-get="…"
// hx-trigger="refresh">. Not while nobody looks, nor while somebody is at something in it.

const busy = (element) =>
  document.hidden || element.contains(document.activeElement) || element.querySelector("details[open]");

for (const { id, dataset } of document.querySelectorAll("[data-refresh]")) {
  setInterval(() => {
    const element = document.getElementById(id);
    if (element && !busy(element)) element.dispatchEvent(new Event("refresh"));
  }, dataset.refresh * 1000);
}
