// What the browser knows when the page is opened: its key, its language, and the conversation that this tab showed.
(browser, language, remembered) => [browser, page.language(), sessionStorage.getItem("conversation") || ""]
