"""The whole way as one thing that can be started, stopped and started again."""
