// Keeps the page up to date. It creates no markup: it fetches the page again and takes over the parts that differ.
"use strict";
(() => {
  const GAP_MS = 500;
  const byId = (id) => document.getElementById(id);
  const parser = new DOMParser();
  let ahead = 0; // the daemon's clock minus this one's, in milliseconds
  let fetching = false;
  let again = false;
  let closed; // the last closed frame, once it is known

  function tick() {
    const countdown = byId("countdown");
    if (!countdown) return;
    const now = Date.now() + ahead;
    const closes = Date.parse(countdown.dataset.closesAt);
    const opened = Date.parse(countdown.dataset.openedAt);
    const left = Math.ceil((closes - now) / 1000);
    const text = left > 0 ? `in ${span(left)}` : "now";
    if (countdown.textContent !== text) countdown.textContent = text;
    const elapsed = byId("elapsed");
    if (elapsed) elapsed.value = Math.min(Math.max((now - opened) / 1000, 0), elapsed.max);
  }

  function span(seconds) {
    if (seconds < 120) return `${seconds} s`;
    if (seconds < 7200) return `${Math.ceil(seconds / 60)} min`;
    return `${Math.ceil(seconds / 3600)} h`;
  }

  function takeOver(fresh) {
    const main = byId("main");
    const ids = (root) => [...root.querySelectorAll("#main > section")].map((one) => one.id).join();
    if (ids(document) !== ids(fresh) && !main.contains(document.activeElement)) {
      main.replaceWith(fresh.getElementById("main"));
    }
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (!other || other.innerHTML === part.dataset.was) continue;
      const was = other.innerHTML;
      if (part.innerHTML === was) {
        part.dataset.was = was;
        continue;
      }
      if (part.contains(document.activeElement)) {
        again = true; // whoever reads or selects here is not disturbed
        continue;
      }
      const scrolled = [...part.querySelectorAll(".table")].map((one) => [one.scrollTop, one.scrollLeft]);
      part.replaceWith(other);
      other.dataset.was = was;
      other.querySelectorAll(".table").forEach((one, i) => {
        [one.scrollTop, one.scrollLeft] = scrolled[i] ?? [0, 0];
      });
    }
    document.title = fresh.title;
    tick();
  }

  async function refresh() {
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    again = false;
    try {
      const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
      if (answer.ok) takeOver(parser.parseFromString(await answer.text(), "text/html"));
    } catch {
      again = true;
    }
    setTimeout(() => {
      fetching = false;
      if (again) refresh();
    }, GAP_MS);
  }

  function linked(text, state) {
    byId("link-text").textContent = text;
    byId("link").className = `state ${state}`;
  }

  function follow() {
    const events = new EventSource("api/v1/events");
    events.addEventListener("status", (event) => {
      const said = JSON.parse(event.data);
      ahead = Date.parse(said.now) - Date.now();
      linked("Live", "good");
      if (closed !== undefined && said.last_closed !== closed) byId("said").textContent = `Frame ${said.last_closed} is closed.`;
      closed = said.last_closed ?? null;
      refresh();
    });
    events.onerror = () => {
      linked("Not connected, trying again", "bad");
      if (events.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
    };
  }

  setInterval(tick, 1000);
  tick();
  linked("Connecting", "quiet");
  follow();
})();
