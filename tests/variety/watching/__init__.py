"""An app that wraps cursors and looks at every statement, as toolbars and tracers do."""
