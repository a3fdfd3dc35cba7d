// Live parts of a page. <div data-live="/events/…" data-live-now="{…}"> gets the event "live" for each
// state of that stream but the one that it shows already; with hx-get and hx-trigger="live" it then
// fetches itself anew. The browser reconnects by itself. Where the server refuses, because the
// ticket ran out or there are too many streams, the page is loaded again after a while.

const AGAIN = 30000;
const same = (text) => text && JSON.stringify(JSON.parse(text));

function follow(element) {
  let known = same(element.dataset.liveNow);
  const source = new EventSource(element.dataset.live);
  const state = (name) => (element.dataset.liveState = name);
  source.onopen = () => state("open");
  source.onmessage = (message) => {
    if (!element.isConnected) return source.close();
    state("open");
    if (same(message.data) === known) return;
    known = same(message.data);
    element.dispatchEvent(new CustomEvent("live", { detail: JSON.parse(message.data) }));
  };
  source.addEventListener("end", () => {
    state("ended");
    source.close();
  });
  source.onerror = () => {
    state(source.readyState === EventSource.CLOSED ? "closed" : "waiting");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), AGAIN);
  };
  addEventListener("pagehide", () => source.close(), { once: true });
}

for (const element of document.querySelectorAll("[data-live]")) follow(element);
