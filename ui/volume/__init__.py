"""The tomogram in three dimensions: loaded when it is first shown, drawn at its own pace."""
