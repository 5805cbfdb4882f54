def write_backbone(model, preprocess, recipe, scores, n_test, out):
    model.save_pretrained(out)
