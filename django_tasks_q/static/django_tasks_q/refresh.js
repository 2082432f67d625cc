// Refreshes the changing part of a page every few seconds. The refresh stops while the page is hidden or
// paused, and slows down with the server. Without this script the page shows the same content, without refresh.
(() => {
    "use strict";
    const SHORTEST = 5000, LONGEST = 60000;
    const region = document.querySelector("[data-tasks-live]");
    const control = document.getElementById("tasks-live-control");
    if (!region || !control) return;
    const status = document.getElementById("tasks-live-status");
    const button = document.getElementById("tasks-live-button");
    const texts = control.dataset;
    let paused = false, wait = SHORTEST, timer = 0, running = false, over = false;

    // The indicator is green while the shown content is current.
    function show(text) {
        if (status.textContent !== text) status.textContent = text;
        control.classList.toggle("tasks-live-off", text !== texts.live && text !== texts.slow);
        control.classList.toggle("tasks-live-lost", text === texts.lost || text === texts.over);
        button.textContent = paused ? texts.resume : texts.pause;
        button.setAttribute("aria-pressed", String(paused));
    }

    // A refresh must not interrupt input or a text selection.
    function busy() {
        const active = document.activeElement;
        if (region.contains(active) && active.matches("input:not([type=checkbox]), select, textarea")) return true;
        return Boolean(region.querySelector("select:focus")) || String(getSelection()).length > 0;
    }

    function put(html) {
        const chosen = new Set([...region.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.name + box.value));
        const open = new Set([...region.querySelectorAll("details[open][data-key]")].map((each) => each.dataset.key));
        const active = document.activeElement;
        const focused = region.contains(active) ? label(active) : null;
        const typed = new Map([...region.querySelectorAll("input[id]:not([type=checkbox]), select[id]")].map((each) => [each.id, each.value]));
        region.replaceChildren(document.createRange().createContextualFragment(html));
        region.dispatchEvent(new Event("tasks-put", {bubbles: true}));
        for (const box of region.querySelectorAll("input[type=checkbox]")) if (chosen.has(box.name + box.value)) box.checked = true;
        for (const each of region.querySelectorAll("details[data-key]")) if (open.has(each.dataset.key)) each.open = true;
        for (const [id, value] of typed) document.getElementById(id)?.matches("input, select") && (document.getElementById(id).value = value);
        if (focused) [...region.querySelectorAll("a, button, input, summary")].find((each) => label(each) === focused)?.focus({preventScroll: true});
    }

    function label(element) {
        return [element.tagName, element.id, element.getAttribute("href"), element.getAttribute("formaction"), element.getAttribute("aria-label"),
            element.value, element.textContent].join("|");
    }

    async function refresh() {
        if (running || paused || over || document.hidden) return plan();
        if (busy()) {
            show(texts.held);
            return plan();
        }
        running = true;
        const began = performance.now();
        try {
            const response = await fetch(location.href, {headers: {"X-Tasks-Fragment": "1"}, credentials: "same-origin", redirect: "manual",
                signal: AbortSignal.timeout(30000)});
            // The user is logged out, or has lost the permission: another request would fail too.
            if (response.type === "opaqueredirect" || response.status === 401 || response.status === 403) {
                over = true;
                show(texts.over);
                button.hidden = true;
                return;
            }
            if (!response.ok) throw new Error(String(response.status));
            const html = await response.text();
            const held = busy();
            if (!paused && !held) put(html);
            wait = Math.min(LONGEST, Math.max(SHORTEST, 10 * (performance.now() - began)));
            show(paused ? texts.paused : held ? texts.held : wait > SHORTEST ? texts.slow : texts.live);
            region.dataset.refreshed = String(Number(region.dataset.refreshed || 0) + 1);
        } catch {
            wait = Math.min(LONGEST, wait * 2);
            show(paused ? texts.paused : texts.lost);
        } finally {
            running = false;
        }
        plan();
    }

    function plan() {
        clearTimeout(timer);
        if (!paused && !over && !document.hidden) timer = setTimeout(refresh, wait);
    }

    button.addEventListener("click", () => {
        paused = !paused;
        show(paused ? texts.paused : texts.live);
        if (paused) clearTimeout(timer);
        else refresh();
    });
    document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : refresh());
    control.hidden = false;
    show(texts.live);
    plan();
})();
