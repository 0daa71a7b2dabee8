// What the browser knows when the page is opened: its key, whether it is wide, and the conversation that this tab showed.
(browser, wide, remembered) => [browser, window.innerWidth > 1000, sessionStorage.getItem("conversation") || ""]
