// Adds a copy button to each element with data-tasks-copy, if the browser offers a clipboard to the page.
(() => {
    "use strict";
    const status = document.getElementById("tasks-copy-status");
    if (!status || !navigator.clipboard) return;
    const texts = status.dataset;

    function add() {
        for (const source of document.querySelectorAll("[data-tasks-copy]")) {
            const button = document.createElement("button");
            button.type = "button";
            button.className = "tasks-button tasks-copy";
            button.textContent = texts.copy;
            button.setAttribute("aria-label", `${texts.copy}: ${source.dataset.tasksCopy}`);
            button.addEventListener("click", () => copy(source, button));
            if (source.matches("code")) source.after(" ", button);
            else source.before(button);
        }
    }

    async function copy(source, button) {
        let message = texts.failed;
        try {
            await navigator.clipboard.writeText(source.textContent);
            message = `${texts.copied}: ${source.dataset.tasksCopy}`;
            button.classList.add("tasks-copied");
            setTimeout(() => button.classList.remove("tasks-copied"), 2000);
        } catch {
            button.title = texts.failed;
        }
        // Emptied first: a screen reader does not read the same text twice.
        status.textContent = "";
        setTimeout(() => { status.textContent = message; }, 100);
    }

    document.addEventListener("tasks-put", add);
    add();
})();
