"""Predictions for a stream of skeletons, in real time.

`predictor`, `buffer`, `window` and `onnx_classifier` need numpy and ONNX Runtime alone,
so that they run on a small board.
"""
