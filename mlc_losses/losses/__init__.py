"""One file per family of losses; no family leans on another, except to compose."""
