// A button that copies, before each text that says what it is. Without this, or where the browser has no
// clipboard for the page, there is none.
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
        let told = texts.failed;
        try {
            await navigator.clipboard.writeText(source.textContent);
            told = `${texts.copied}: ${source.dataset.tasksCopy}`;
            button.classList.add("tasks-copied");
            setTimeout(() => button.classList.remove("tasks-copied"), 2000);
        } catch {
            button.title = texts.failed;
        }
        // Emptied first, for what is said twice in the same words would be read out once.
        status.textContent = "";
        setTimeout(() => { status.textContent = told; }, 100);
    }

    document.addEventListener("tasks-put", add);
    add();
})();
