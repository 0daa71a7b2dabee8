// The tab remembers its conversation, for a reload.
(identity) => { if (identity) sessionStorage.setItem("conversation", identity); }
